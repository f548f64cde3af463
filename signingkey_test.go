package auditdrain_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

func TestActiveSigningKey(t *testing.T) {
	const hour = 3_600_000
	key := func(id string, from int64) auditdrain.SigningKey {
		return auditdrain.SigningKey{ID: id, ActiveFrom: from}
	}
	for name, c := range map[string]struct {
		keys []auditdrain.SigningKey
		want string // the statuses, the latest first
	}{
		"none":                           {nil, ""},
		"one":                            {[]auditdrain.SigningKey{key("a", 0)}, "a"},
		"at its time":                    {[]auditdrain.SigningKey{key("a", 0), key("b", hour)}, "ba"},
		"before its time":                {[]auditdrain.SigningKey{key("a", 0), key("b", hour+1)}, "-ba"},
		"two that are to come":           {[]auditdrain.SigningKey{key("a", 0), key("b", 2*hour), key("c", 3*hour)}, "-c-ba"},
		"one that came before another's": {[]auditdrain.SigningKey{key("a", 0), key("b", 2*hour), key("c", hour)}, "cba"},
		"a clock that was set back":      {[]auditdrain.SigningKey{key("a", 2*hour), key("b", 3*hour)}, "-ba"},
	} {
		at := time.UnixMilli(hour)
		got, active := "", 0
		for _, k := range auditdrain.ShowSigningKeys(c.keys, at) {
			if k.Status == auditdrain.SigningKeyNext {
				got += "-"
			}
			if k.Status == auditdrain.SigningKeyActive {
				active++
				if i := auditdrain.ActiveSigningKey(c.keys, at); c.keys[i].ID != k.ID {
					t.Errorf("%s: %s is active, and %s signs", name, k.ID, c.keys[i].ID)
				}
			}
			got += k.ID
		}
		if got != c.want || active != min(len(c.keys), 1) {
			t.Errorf("%s: %q with %d active, want %q", name, got, active, c.want)
		}
	}
	if i := auditdrain.ActiveSigningKey(nil, time.UnixMilli(hour)); i != -1 {
		t.Errorf("without keys: %d", i)
	}
}

func TestShowSigningKeys(t *testing.T) {
	got := auditdrain.ShowSigningKeys([]auditdrain.SigningKey{
		{ID: "a", Public: []byte("a"), CreatedAt: 1, ActiveFrom: 1, Encrypted: []byte("secret")},
		{ID: "b", Public: []byte("b"), CreatedAt: 2, ActiveFrom: 3, KMSKeyARN: "arn"},
	}, time.UnixMilli(3))
	want := []auditdrain.SigningKeyInfo{
		{ID: "b", CreatedAt: 2, ActiveFrom: 3, Status: auditdrain.SigningKeyActive, KMSKeyARN: "arn"},
		{ID: "a", CreatedAt: 1, ActiveFrom: 1, Status: auditdrain.SigningKeyRetired},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSigningKeyInput(t *testing.T) {
	now := time.UnixMilli(17)
	hours := func(n int) *int { return &n }
	for _, c := range []struct {
		in   *int
		want time.Duration
		code auditdrain.Code
	}{
		{nil, 24 * time.Hour, ""}, {hours(0), 0, ""}, {hours(1), time.Hour, ""}, {hours(90 * 24), 90 * 24 * time.Hour, ""},
		{hours(-1), 0, auditdrain.CodeBadRequest}, {hours(90*24 + 1), 0, auditdrain.CodeBadRequest},
	} {
		got, err := auditdrain.SigningKeyInput{ActiveAfterHours: c.in}.ActiveFrom(now)
		if code := auditdrain.ErrorCode(err); code != c.code || err == nil && !got.Equal(now.Add(c.want)) {
			t.Errorf("%v: %v, %v", c.in, got, err)
		}
	}
}
