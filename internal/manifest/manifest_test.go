package manifest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auditdrain/auditdrain"
)

// example is a manifest with all that there can be.
func example() Manifest {
	previous := Sum([]byte("previous"))
	return Manifest{
		Format: Format, DrainID: "drn_1", TeamID: "team_acme", Endpoint: "s3://acme-audit-archive/audit-logs", Number: 7, Previous: &previous,
		Cause: auditdrain.SealHour, Sequence: Range{101, 131}, Delivered: Range{1779440400000, 1779444000000}, OpenSince: 1779443999000,
		Count: 20, Bytes: 2000, Parts: []Part{{Count: 20, SHA256: Sum(nil), Size: 3000}},
		Skips:     []Skip{{At: 1779441000000, By: "tok_1", EventID: "uev_9", Reason: "refused by the bucket \u2028 <é>", Sequence: Range{110, 111}}},
		Gaps:      []Gap{{Delivered: Range{1779440400000, 1779440500000}, Reason: "integrity was off", Sequence: Range{101, 110}}},
		Changes:   []Change{{Action: "drain-updated", Activity: 12, At: 1779442000000, By: "tok_1", Name: "Zoë", Fields: []Field{{"delivery.encoding", "json", "ndjson"}}}},
		Uncertain: []string{"schema=audit_log/x.json"},
	}
}

func TestEncodeAndParse(t *testing.T) {
	want := example()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{`"previous":"`, `"reason":"refused by the bucket ` + "\u2028" + ` <é>"`, `"sequence":{"from":101,"to":131}`} {
		if !bytes.Contains(b, []byte(part)) {
			t.Errorf("%s is not in %s", part, b)
		}
	}

	empty := Manifest{DrainID: "drn_1", Number: 1, Cause: auditdrain.SealHour, Sequence: Range{1, 1}}
	b, err = empty.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"bytes":0,"cause":"hour","changes":[],"count":0,"delivered":{"from":0,"to":0},"drainId":"drn_1","endpoint":"","format":"auditdrain-manifest/v1","gaps":[],"number":1,"openSince":0,"parts":[],"sequence":{"from":1,"to":1},"skips":[],"teamId":"","uncertain":[]}`; string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}

func TestWhatContradictsItself(t *testing.T) {
	for want, change := range map[string]func(*Manifest){
		"not an id":                          func(m *Manifest) { m.DrainID = "../x" },
		"number 0":                           func(m *Manifest) { m.Number = 0 },
		"previous is missing":                func(m *Manifest) { m.Previous = nil },
		"or there in the first":              func(m *Manifest) { m.Number = 1 },
		`cause "late-ish"`:                   func(m *Manifest) { m.Cause = "late-ish" },
		"replayId goes with":                 func(m *Manifest) { m.ReplayID = "rpl_1" },
		"movedTo goes with":                  func(m *Manifest) { m.MovedTo = "s3://x" },
		"movedFrom \"s3://x\" in the first":  func(m *Manifest) { m.Number, m.Previous, m.MovedFrom = 1, nil, "s3://x" },
		"is the endpoint itself":             func(m *Manifest) { m.MovedFrom = m.Endpoint },
		"is not a range of numbers":          func(m *Manifest) { m.Sequence.From = 0 },
		"is not a range of time":             func(m *Manifest) { m.Delivered.From = m.Delivered.To + 1 },
		"after":                              func(m *Manifest) { m.OpenSince = m.Delivered.To + 1 },
		"more than one hour":                 func(m *Manifest) { m.Delivered.From-- },
		"is greater than 9007199254740991":   func(m *Manifest) { m.Bytes = 1 << 53 },
		"part 1 has 10001":                   func(m *Manifest) { m.Parts[0].Count = 10001 },
		"the parts list 19":                  func(m *Manifest) { m.Parts[0].Count = 19 },
		"skip or gap of 110 to 132":          func(m *Manifest) { m.Skips[0].Sequence.To = 132 },
		"skip or gap of 109 to 111":          func(m *Manifest) { m.Skips[0].Sequence.From = 109 },
		"31 events, but 30 are accounted":    func(m *Manifest) { m.Sequence.To++ },
		"30 events, but 29 are accounted":    func(m *Manifest) { m.Gaps[0].Sequence.From++ },
		"gap: delivered 2 to 1 is not a ran": func(m *Manifest) { m.Gaps[0].Delivered = Range{2, 1} },
	} {
		m := example()
		change(&m)
		if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestOneFormOnly(t *testing.T) {
	b, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]string{
		"space":              strings.Replace(string(b), ":", ": ", 1),
		"newline at the end": string(b) + "\n",
		"order":              strings.Replace(string(b), `"from":101,"to":131`, `"to":131,"from":101`, 1),
		"number":             strings.Replace(string(b), `"bytes":2000`, `"bytes":2e3`, 1),
		"escape":             strings.Replace(string(b), "é", `\u00e9`, 1),
		"twice":              strings.Replace(string(b), `"bytes":2000`, `"bytes":2000,"bytes":2000`, 1),
		"digits":             strings.Replace(string(b), Sum(nil).String(), strings.ToUpper(Sum(nil).String()), 1),
		"short":              strings.Replace(string(b), Sum(nil).String(), Sum(nil).String()[1:], 1),
		"format":             strings.Replace(string(b), "manifest/v1", "manifest/v2", 1),
		"nothing":            "",
		"array":              "[]",
	} {
		if _, err := Parse([]byte(other)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeysOfObjects(t *testing.T) {
	keys := []string{
		Key("drn_1", 9), PartKey("drn_1", 9, 1), PartKey("drn_1", 9, 10), SignatureKey("drn_1", 9), Key("drn_1", 10),
	}
	if !slices.IsSorted(keys) {
		t.Errorf("not in order: %q", keys)
	}
	for key, want := range map[string]struct {
		id     string
		number uint64
		part   int
		kind   Kind
	}{
		"manifest/drn_1/000000000009.json":             {"drn_1", 9, 0, Document},
		"manifest/drn_1/000000000008.sig.json":         {"drn_1", 8, 0, Signature},
		"manifest/drn_1/000000000009.part-000010.json": {"drn_1", 9, 10, Listing},
		"manifest/drn_1/1234567890123.json":            {"drn_1", 1234567890123, 0, Document},
		"manifest/drn_1/0000000000009.json":            {},
		"manifest/drn_1/9.json":                        {},
		"manifest/drn_1/x/000000000009.json":           {},
		"manifest/000000000009.json":                   {},
		"manifest/../000000000009.json":                {},
		"manifest/drn_1/000000000009.part-1.json":      {},
		"manifest/drn_1/99999999999999999999999.json":  {},
		"other/drn_1/000000000009.json":                {},
	} {
		id, number, part, kind := ParseKey(key)
		if id != want.id || number != want.number || part != want.part || kind != want.kind {
			t.Errorf("%s: %q %d %d %d", key, id, number, part, kind)
		}
	}
}

// rfc8037 is the key of RFC 8037, appendix A.
const rfc8037 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

func TestFingerprint(t *testing.T) {
	keys, err := ParseKeys([]byte(rfc8037))
	if err != nil {
		t.Fatal(err)
	}
	const want = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" // appendix A.3
	if _, ok := keys[want]; !ok || len(keys) != 1 {
		t.Errorf("%v, want %s", keys, want)
	}
}

func TestParseKeys(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inPEM := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	want := Keys{Fingerprint(public): public}
	set, err := want.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	x := base64.RawURLEncoding.EncodeToString(public)
	for name, tc := range map[string]struct {
		in  []byte
		err string
	}{
		"set":               {set, ""},
		"PEM":               {inPEM(public), ""},
		"with others":       {fmt.Appendf(nil, `{"keys":[{"kty":"RSA","n":"x"},{"kty":"OKP","crv":"Ed25519","kid":"misleading","x":%q}]}`, x), ""},
		"only others":       {[]byte(`{"keys":[{"kty":"RSA","n":"x"}]}`), "no Ed25519 key"},
		"empty":             {[]byte(`{"keys":[]}`), "no Ed25519 key"},
		"short":             {[]byte(`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), "not 32 bytes"},
		"another's PEM":     {inPEM(&other.PublicKey), "not Ed25519"},
		"no key whatsoever": {[]byte("hello"), "neither a JSON Web Key Set"},
	} {
		got, err := ParseKeys(tc.in)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", name, err, tc.err)
			}
		} else if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestSign(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	public := key.Public().(ed25519.PublicKey)
	keys := Keys{Fingerprint(public): public}
	body, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Sign(HeadOf(example(), body), key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := signed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSignedHead(b)
	if err != nil || got != signed {
		t.Errorf("%+v, %v", got, err)
	}
	if err := got.Verify(keys); err != nil {
		t.Error(err)
	}
	if message, err := got.Head.Message(); err != nil || len(message) > 4096 {
		t.Errorf("%d bytes, %v: more than KMS signs", len(message), err)
	}
	forged := got
	forged.Head.Number++
	if err := forged.Verify(keys); err == nil {
		t.Error("another head was accepted")
	}
	forged = got
	forged.Signature = strings.Repeat("A", 86)
	if err := forged.Verify(keys); err == nil {
		t.Error("another signature was accepted")
	}
	var unknown UnknownKeyError
	if err := got.Verify(Keys{}); !errors.As(err, &unknown) {
		t.Errorf("%v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(got.Head, crypto.Signer(other)); err == nil {
		t.Error("signed with a key that is not Ed25519")
	}
}
