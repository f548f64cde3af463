package ingest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/auditdrain/auditdrain"
)

// What S3 demands of one PUT, as far as an event has a say in it: a PUT's
// headers are the drain's, but for lengths and digests.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const (
	s3KeyBytes  = 1024
	s3BodyBytes = 5 << 30 // of a single PUT
)

// What follows the prefix in a key. All of it is among the characters that S3
// calls safe, or is "=".
var keyRE = regexp.MustCompile(`^(test/)?schema=audit_log/version=v1/year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}/[0-9]{8}T[0-9]{6}\.[0-9]{3}Z_[A-Za-z0-9_.-]+\.jsonl?$`)

// deliveries differ in what a key is made of besides the event. The prefixes
// are the longest that a drain may have, in as few characters as in many.
func deliveries(t testing.TB) []auditdrain.Delivery {
	t.Helper()
	var all []auditdrain.Delivery
	for _, prefix := range []string{"", strings.Repeat("p", auditdrain.MaxPrefixLen), strings.Repeat("🪵", auditdrain.MaxPrefixLen/4)} {
		for _, encoding := range auditdrain.Encodings {
			d := auditdrain.Delivery{
				Type: "s3", Endpoint: strings.TrimSuffix("s3://acme-audit/"+prefix, "/"), Encoding: encoding,
				RoleARN: "arn:aws:iam::123456789012:role/drain", Region: "us-east-1",
			}.WithDefaults()
			if problems := d.Validate(func(string) (string, bool) { return "aws", true }); problems != nil {
				t.Fatalf("no drain could be so: %+v", problems)
			}
			all = append(all, d)
		}
	}
	return all
}

// checkDeliverable holds an event that was accepted against what S3 demands.
func checkDeliverable(t testing.TB, e auditdrain.Event) {
	t.Helper()
	for _, d := range deliveries(t) {
		for _, test := range []bool{false, true} {
			key := d.ObjectKey(e, test)
			_, prefix := d.SplitEndpoint()
			if len(key) > s3KeyBytes || !utf8.ValidString(key) {
				t.Fatalf("event %q: key of %d bytes: %q", e.ID, len(key), key)
			}
			if rest := strings.TrimPrefix(strings.TrimPrefix(key, prefix), "/"); !keyRE.MatchString(rest) {
				t.Fatalf("event %q: key %q", e.ID, key)
			}
			// S3 takes these, but clients and proxies resolve them.
			for part := range strings.SplitSeq(key, "/") {
				if slices.Contains([]string{"", ".", ".."}, part) {
					t.Fatalf("event %q: key %q has %q as a folder", e.ID, key, part)
				}
			}
		}
		if n := len(d.ObjectBody(e)); n == 0 || n > s3BodyBytes {
			t.Fatalf("event %q: %d bytes", e.ID, n)
		}
	}
}

// Poison cannot exist: whatever is accepted, S3 has no reason to refuse for
// its own sake. These are the extremes, each with what is beyond them and is
// refused here; FuzzDecode looks for others.
func TestNoPoison(t *testing.T) {
	idOf := func(id string) string { return with("id", `"`+id+`"`) }
	at := func(t time.Time, ms int64) string { return with("timestamp", fmt.Sprint(t.UnixMilli()+ms)) }
	sized := func(n int) string {
		begin := strings.TrimSuffix(whole, "}") + `,"x":"`
		return begin + strings.Repeat("x", n-len(begin)-len(`"}`)) + `"}`
	}
	ahead := testNow.Add(auditdrain.MaxTimestampAhead)
	for name, tt := range map[string]struct{ accepted, refused []string }{
		"length of the id": {
			[]string{idOf("0"), idOf(strings.Repeat("Z", auditdrain.MaxEventIDLen))},
			[]string{idOf(""), idOf(strings.Repeat("Z", auditdrain.MaxEventIDLen+1))},
		},
		"characters of the id": {
			[]string{idOf("."), idOf(".."), idOf("..."), idOf("-"), idOf("_"), idOf(strings.Repeat(".", auditdrain.MaxEventIDLen)), idOf(`\u0061`)},
			[]string{idOf("a/b"), idOf("../a"), idOf(" "), idOf("a b"), idOf("a%2Fb"), idOf(`a\\b`), idOf("é"), idOf("🪵"), idOf(`\u0000`), idOf(`\n`), idOf(`\ud800`), idOf("a\x7fb"), idOf("\xff")},
		},
		"time": {
			[]string{at(auditdrain.MinTimestamp, 0), at(ahead, 0), with("timestamp", "")},
			[]string{at(auditdrain.MinTimestamp, -1), at(ahead, 1), with("timestamp", "0"), with("timestamp", "-1"), with("timestamp", "253402300800000"), with("timestamp", "9223372036854775807"), with("timestamp", "1e30")},
		},
		"size": {
			[]string{`{"action":"a","actor":{"type":"user","id":"u","name":""}}`, sized(auditdrain.MaxEventBytes)},
			[]string{sized(auditdrain.MaxEventBytes + 1)},
		},
		"what the server fills in": {
			[]string{with("id", "")},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, body := range tt.accepted {
				events, err := testDecoder().Decode("team_a", TypeJSON, []byte(body))
				if err != nil || len(events) != 1 {
					t.Fatalf("%.300s: %d events, %v", body, len(events), err)
				}
				checkDeliverable(t, events[0])
			}
			for _, body := range tt.refused {
				if events, err := testDecoder().Decode("team_a", TypeJSON, []byte(body)); err == nil {
					t.Errorf("accepted %+v", events)
				}
			}
		})
	}
}
