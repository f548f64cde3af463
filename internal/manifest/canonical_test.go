package manifest

import (
	"bytes"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// TestCanonicalVectors holds the library that we encode with against RFC 8785.
func TestCanonicalVectors(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"3.2.2, serialization": {
			`{
				"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
				"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
				"literals": [null, true, false]
			}`,
			unhex(t, `7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72
				75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72 73 22 3a
				5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31
				65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32 2c 31 65 2d 32 37
				5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30
				30 66 5c 6e 41 27 42 5c 22 5c 5c 5c 5c 5c 22 2f 22 7d`),
		},
		"3.2.3, sorting": {
			`{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
				"\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}`,
			`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
				`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`,
		},
		"all escapes": {
			`"\u0000\u0008\u0009\u000a\u000c\u000d\u001f\u007f\u2028<>&"`,
			`"\u0000\b\t\n\f\r\u001f` + "\u007f\u2028" + `<>&"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := jsontext.Value(tc.in)
			if err := v.Canonicalize(); err != nil || string(v) != tc.want {
				t.Errorf("got\n%s, %v\nwant\n%s", v, err, tc.want)
			}
		})
	}
}

// TestCanonicalNumbers has the numbers of RFC 8785, appendix B.
func TestCanonicalNumbers(t *testing.T) {
	for ieee, want := range map[string]string{
		"0000000000000000": "0",
		"8000000000000000": "0",
		"0000000000000001": "5e-324",
		"8000000000000001": "-5e-324",
		"7fefffffffffffff": "1.7976931348623157e+308",
		"ffefffffffffffff": "-1.7976931348623157e+308",
		"4340000000000000": "9007199254740992",
		"c340000000000000": "-9007199254740992",
		"4430000000000000": "295147905179352830000",
		"44b52d02c7e14af5": "9.999999999999997e+22",
		"44b52d02c7e14af6": "1e+23",
		"44b52d02c7e14af7": "1.0000000000000001e+23",
		"444b1ae4d6e2ef4e": "999999999999999700000",
		"444b1ae4d6e2ef4f": "999999999999999900000",
		"444b1ae4d6e2ef50": "1e+21",
		"3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
		"3eb0c6f7a0b5ed8d": "0.000001",
		"41b3de4355555553": "333333333.3333332",
		"41b3de4355555554": "333333333.33333325",
		"41b3de4355555555": "333333333.3333333",
		"41b3de4355555556": "333333333.3333334",
		"41b3de4355555557": "333333333.33333343",
		"becbf647612f3696": "-0.0000033333333333333333",
		"43143ff3c1cb0959": "1424953923781206.2",
	} {
		bits, err := strconv.ParseUint(ieee, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		v := jsontext.Value(strconv.FormatFloat(math.Float64frombits(bits), 'e', -1, 64))
		if err := v.Canonicalize(); err != nil || string(v) != want {
			t.Errorf("%s: %s, %v, want %s", ieee, v, err, want)
		}
	}
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func FuzzParse(f *testing.F) {
	body, err := example().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		// Members that this version does not know are not written again.
		if err != nil || len(again) > len(b) {
			t.Errorf("%s: %v", again, err)
		}
		if len(again) == len(b) && !bytes.Equal(again, b) {
			t.Errorf("%s\nbecame\n%s", b, again)
		}
	})
}
