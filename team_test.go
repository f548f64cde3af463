package auditdrain_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// fields returns the fields that err complains of, in order.
func fields(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *auditdrain.Error
	if !errors.As(err, &e) || e.Code != auditdrain.CodeBadRequest || len(e.Details) == 0 {
		t.Fatalf("got error %#v, want one that lists problems", err)
	}
	return problemFields(t, e.Details)
}

func problemFields(t *testing.T, problems []auditdrain.Problem) []string {
	t.Helper()
	var names []string
	for _, p := range problems {
		if p.Index != nil || p.Message == "" {
			t.Errorf("problem %+v", p)
		}
		names = append(names, p.Field)
	}
	return names
}

func TestTeamValidate(t *testing.T) {
	tests := []struct {
		name string
		team auditdrain.Team
		want []string
	}{
		{"usual", auditdrain.Team{ID: "team_123", Slug: "acme", Name: "Acme, Inc. ✓"}, nil},
		{"shortest", auditdrain.Team{ID: "a", Slug: "a", Name: "a"}, nil},
		{"longest", auditdrain.Team{ID: strings.Repeat("A", 64), Slug: strings.Repeat("a", 64), Name: strings.Repeat("é", 64)}, nil},
		{"all characters", auditdrain.Team{ID: "azAZ09_-", Slug: "a0-z9", Name: " "}, nil},
		{"nothing", auditdrain.Team{}, []string{"id", "slug", "name"}},
		{"too long", auditdrain.Team{ID: strings.Repeat("A", 65), Slug: strings.Repeat("a", 65), Name: strings.Repeat("a", 129)}, []string{"id", "slug", "name"}},
		{"id with a wildcard", auditdrain.Team{ID: "*", Slug: "a", Name: "a"}, []string{"id"}},
		{"id with a colon", auditdrain.Team{ID: "a:b", Slug: "a", Name: "a"}, []string{"id"}},
		{"id with a slash", auditdrain.Team{ID: "a/b", Slug: "a", Name: "a"}, []string{"id"}},
		{"id with a newline", auditdrain.Team{ID: "a\n", Slug: "a", Name: "a"}, []string{"id"}},
		{"slug in upper case", auditdrain.Team{ID: "a", Slug: "Acme", Name: "a"}, []string{"slug"}},
		{"slug with an underscore", auditdrain.Team{ID: "a", Slug: "a_b", Name: "a"}, []string{"slug"}},
		{"slug that begins with a hyphen", auditdrain.Team{ID: "a", Slug: "-a", Name: "a"}, []string{"slug"}},
		{"slug that ends with a hyphen", auditdrain.Team{ID: "a", Slug: "a-", Name: "a"}, []string{"slug"}},
		{"name with a control character", auditdrain.Team{ID: "a", Slug: "a", Name: "a\tb"}, []string{"name"}},
		{"name that is not UTF-8", auditdrain.Team{ID: "a", Slug: "a", Name: "\xff"}, []string{"name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, fields(t, tt.team.Validate())); diff != "" {
				t.Errorf("fields with problems (-want +got):\n%s", diff)
			}
		})
	}
	err := auditdrain.Team{ID: "a b", Slug: "acme", Name: "Acme"}.Validate()
	if want := `id: "a b" is not allowed: use 1 to 64 of A-Z, a-z, 0-9, _ and - (it becomes part of the external ID)`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestTokenValidate(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	tests := []struct {
		name  string
		token auditdrain.Token
		want  []string
	}{
		{"operator", auditdrain.Token{Name: "n", Role: auditdrain.RoleOperator}, nil},
		{"owner", auditdrain.Token{Name: "n", Role: auditdrain.RoleOwner, TeamID: "team_a"}, nil},
		{"viewer", auditdrain.Token{Name: "n", Role: auditdrain.RoleViewer, TeamID: "team_a"}, nil},
		{"producer", auditdrain.Token{Name: "n", Role: auditdrain.RoleProducer, TeamID: "team_a"}, nil},
		{"expires in a moment", auditdrain.Token{Name: "n", Role: auditdrain.RoleOperator, ExpiresAt: now.UnixMilli() + 1}, nil},
		{"nothing", auditdrain.Token{}, []string{"name", "role"}},
		{"operator of a team", auditdrain.Token{Name: "n", Role: auditdrain.RoleOperator, TeamID: "team_a"}, []string{"teamId"}},
		{"owner of no team", auditdrain.Token{Name: "n", Role: auditdrain.RoleOwner}, []string{"teamId"}},
		{"viewer of no team", auditdrain.Token{Name: "n", Role: auditdrain.RoleViewer}, []string{"teamId"}},
		{"producer of no team", auditdrain.Token{Name: "n", Role: auditdrain.RoleProducer}, []string{"teamId"}},
		{"unknown role", auditdrain.Token{Name: "n", Role: "Owner", TeamID: "team_a"}, []string{"role"}},
		{"long name", auditdrain.Token{Name: strings.Repeat("n", 129), Role: auditdrain.RoleOperator}, []string{"name"}},
		{"has just expired", auditdrain.Token{Name: "n", Role: auditdrain.RoleOperator, ExpiresAt: now.UnixMilli()}, []string{"expiresAt"}},
		{"negative expiry", auditdrain.Token{Name: "n", Role: auditdrain.RoleOperator, ExpiresAt: -1}, []string{"expiresAt"}},
		{"all wrong", auditdrain.Token{Name: "\x00", Role: auditdrain.RoleOwner, ExpiresAt: 1}, []string{"name", "teamId", "expiresAt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, fields(t, tt.token.Validate(now))); diff != "" {
				t.Errorf("fields with problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenExpired(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for expiresAt, want := range map[int64]bool{
		0:                     false, // never
		now.UnixMilli() - 1:   true,
		now.UnixMilli():       true,
		now.UnixMilli() + 1:   false,
		now.UnixMilli() + 1e9: false,
	} {
		if got := (auditdrain.Token{ExpiresAt: expiresAt}).Expired(now); got != want {
			t.Errorf("expires at %d: Expired at %d is %t", expiresAt, now.UnixMilli(), got)
		}
	}
}

func TestTokenValue(t *testing.T) {
	form := regexp.MustCompile(`^ad_[A-Za-z0-9]{32}$`)
	seen := map[string]bool{}
	for range 1000 {
		v := auditdrain.NewTokenValue()
		if !form.MatchString(v) || seen[v] {
			t.Fatalf("NewTokenValue gave %q", v)
		}
		seen[v] = true
	}
	if got, want := auditdrain.HashToken("ad_x"), auditdrain.TokenHash(sha256.Sum256([]byte("ad_x"))); got != want {
		t.Errorf("HashToken gave %x, want %x", got, want)
	}
}

// A token's hash must not leave the server, and its value only once.
func TestTokenJSON(t *testing.T) {
	token := auditdrain.Token{ID: "tok_1", Name: "n", Role: auditdrain.RoleOperator, CreatedAt: 1, Hash: auditdrain.HashToken("ad_x")}
	for want, v := range map[string]any{
		`{"id":"tok_1","name":"n","role":"operator","createdAt":1}`:                token,
		`{"id":"tok_1","name":"n","role":"operator","createdAt":1,"token":"ad_x"}`: auditdrain.NewToken{Token: token, Value: "ad_x"},
	} {
		if got, err := json.Marshal(v); err != nil || string(got) != want {
			t.Errorf("got  %s (error %v)\nwant %s", got, err, want)
		}
	}
}
