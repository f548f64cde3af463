package auditdrain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestNamespace(t *testing.T) {
	for _, tt := range []struct {
		namespace auditdrain.Namespace
		ok        bool
	}{
		{auditdrain.DefaultNamespace, true},
		{"a", true},
		{"acme-2", true},
		{auditdrain.Namespace(strings.Repeat("a", 32)), true},
		{"", false},
		{"2acme", false},
		{"-acme", false},
		{"Acme", false},
		{"acme_corp", false},
		{"acme.corp", false},
		{"acme:corp", false},
		{"acme\n", false},
		{auditdrain.Namespace(strings.Repeat("a", 33)), false},
	} {
		err := tt.namespace.Validate()
		if tt.ok && err != nil {
			t.Errorf("%q: %v", tt.namespace, err)
		}
		if !tt.ok && (auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest || !strings.Contains(err.Error(), fmt.Sprintf("%q is not allowed", string(tt.namespace)))) {
			t.Errorf("%q: got error %v", tt.namespace, err)
		}
	}
	if got, want := auditdrain.DefaultNamespace.Schema(), "vercel.audit_log.v1"; got != want {
		t.Errorf("schema %q, want %q", got, want)
	}
	if got, want := auditdrain.DefaultNamespace.ExternalID("team_123"), "vercel-team:team_123"; got != want {
		t.Errorf("external ID %q, want %q", got, want)
	}
	if got, want := auditdrain.Namespace("acme").Schema(), "acme.audit_log.v1"; got != want {
		t.Errorf("schema %q, want %q", got, want)
	}
	if got, want := auditdrain.Namespace("acme").ExternalID("t"), "acme-team:t"; got != want {
		t.Errorf("external ID %q, want %q", got, want)
	}
}

func TestRandomString(t *testing.T) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for _, n := range []int{0, 1, 2, 3, 24, 32, 1000} {
		if got := auditdrain.RandomString(n); len(got) != n || strings.Trim(got, alphabet) != "" {
			t.Errorf("RandomString(%d) = %q", n, got)
		}
	}
	// Each character is equally likely: of 620,000, each comes about 10,000
	// times, and within 6 standard deviations (99.2 each) all but never not.
	const each = 10_000
	s := auditdrain.RandomString(each * len(alphabet))
	for _, c := range alphabet {
		if n := strings.Count(s, string(c)); n < each-600 || n > each+600 {
			t.Errorf("%c comes %d times among %d characters", c, n, len(s))
		}
	}
	seen := map[string]bool{}
	for range 10_000 {
		id := auditdrain.NewID("drn_")
		if len(id) != 28 || !strings.HasPrefix(id, "drn_") || seen[id] {
			t.Fatalf("NewID gave %q", id)
		}
		seen[id] = true
	}
}

func TestValidEventID(t *testing.T) {
	valid := map[byte]bool{'_': true, '-': true, '.': true}
	for _, r := range [][2]byte{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}} {
		for c := r[0]; c <= r[1]; c++ {
			valid[c] = true
		}
	}
	for c := range 256 {
		for _, id := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)}) + "b"} {
			if got := auditdrain.ValidEventID(id); got != valid[byte(c)] {
				t.Errorf("ValidEventID(%q) = %t", id, got)
			}
		}
	}
	for id, want := range map[string]bool{
		"":                             false,
		"uev_O0Sn1S6VHTDuKJ6sNs3hLIEy": true,
		strings.Repeat("a", 128):       true,
		strings.Repeat("a", 129):       false,
		"é":                            false,
		"a\n":                          false,
	} {
		if got := auditdrain.ValidEventID(id); got != want {
			t.Errorf("ValidEventID(%q) = %t", id, got)
		}
	}
}

func TestErrorJSON(t *testing.T) {
	index := 0
	for _, tt := range []struct {
		err  *auditdrain.Error
		want string
	}{
		{auditdrain.Errorf(auditdrain.CodeNotFound, "no drain %q", "drn_1"), `{"code":"not_found","message":"no drain \"drn_1\""}`},
		{&auditdrain.Error{Code: auditdrain.CodeUnavailable, Message: "later", RetryAfter: time.Second}, `{"code":"unavailable","message":"later"}`},
		{&auditdrain.Error{Code: auditdrain.CodeConflict, Message: "m", IDs: []string{"a", "b"}}, `{"code":"conflict","message":"m","ids":["a","b"]}`},
		{&auditdrain.Error{Code: auditdrain.CodeInvalidEvent, Message: "m", Details: []auditdrain.Problem{{Index: &index, Field: "id", Message: "bad"}, {Field: "name", Message: "bad"}}},
			`{"code":"invalid_event","message":"m","details":[{"index":0,"field":"id","message":"bad"},{"field":"name","message":"bad"}]}`},
	} {
		got, err := json.Marshal(tt.err)
		if err != nil || string(got) != tt.want {
			t.Errorf("got  %s (error %v)\nwant %s", got, err, tt.want)
		}
		if tt.err.Error() != tt.err.Message {
			t.Errorf("Error() is %q, want the message %q", tt.err.Error(), tt.err.Message)
		}
		var back auditdrain.Error
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		want := *tt.err
		want.RetryAfter = 0 // travels as a header
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	}
}

func TestFieldErrors(t *testing.T) {
	if err := auditdrain.FieldErrors(nil); err != nil {
		t.Errorf("no problems: %v", err)
	}
	one := []auditdrain.Problem{{Field: "name", Message: "too long"}}
	three := []auditdrain.Problem{{Field: "name", Message: "too long"}, {Field: "slug", Message: "x"}, {Field: "id", Message: "y"}}
	for _, tt := range []struct {
		problems []auditdrain.Problem
		message  string
	}{
		{one, "name: too long"},
		{three, "name: too long (and 2 more, see details)"},
	} {
		want := &auditdrain.Error{Code: auditdrain.CodeBadRequest, Message: tt.message, Details: tt.problems}
		if diff := cmp.Diff(error(want), auditdrain.FieldErrors(tt.problems)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestErrorCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want auditdrain.Code
	}{
		{nil, ""},
		{errors.New("disk on fire"), auditdrain.CodeInternal},
		{auditdrain.Errorf(auditdrain.CodeForbidden, "no"), auditdrain.CodeForbidden},
		{fmt.Errorf("create drain: %w", auditdrain.Errorf(auditdrain.CodeConflict, "no")), auditdrain.CodeConflict},
		{errors.Join(errors.New("x"), auditdrain.Errorf(auditdrain.CodeNotFound, "no")), auditdrain.CodeNotFound},
	} {
		if got := auditdrain.ErrorCode(tt.err); got != tt.want {
			t.Errorf("ErrorCode(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestCodeStatus(t *testing.T) {
	for code, want := range map[auditdrain.Code]int{
		auditdrain.CodeBadRequest:   400,
		auditdrain.CodeUnauthorized: 401,
		auditdrain.CodeForbidden:    403,
		auditdrain.CodeNotFound:     404,
		auditdrain.CodeNoMethod:     405,
		auditdrain.CodeConflict:     409,
		auditdrain.CodeTooLarge:     413,
		auditdrain.CodeMediaType:    415,
		auditdrain.CodeInvalidEvent: 422,
		auditdrain.CodeRateLimited:  429,
		auditdrain.CodeInternal:     500,
		auditdrain.CodeUnavailable:  503,
		"":                          500,
		"no such code":              500,
	} {
		if got := code.Status(); got != want || http.StatusText(got) == "" {
			t.Errorf("%q.Status() = %d, want %d", code, got, want)
		}
	}
}
