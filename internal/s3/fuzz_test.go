package s3

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
)

// FuzzAnswer answers anything, with the session's secrets wherever § and ¤ are.
func FuzzAnswer(f *testing.F) {
	f.Add(403, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>User § may not</Message><RequestId>1</RequestId><HostId>2</HostId></Error>`, "x-amz-request-id", "§", true)
	f.Add(400, `<Error><Code>ExpiredToken</Code><Token-0>§</Token-0></Error>`, "x-amz-id-2", "¤", false)
	f.Add(400, `<Error><Token-0>§`, "Date", "Sun, 22 Nov 2026 18:00:00 GMT", true)
	f.Add(403, "<Error><StringToSign>a</b>§</StringToSign ><CanonicalRequest >x\n§¤</CanonicalRequest></Error>", "§", "", true)
	f.Add(403, `<ErrorResponse><Error><Code>§</Code><Message>&#167;¤</Message></Error><RequestId>§</RequestId></ErrorResponse>`, "", "", false)
	f.Add(200, "\xff§\xff", "\x00", "\xff§", true)
	f.Fuzz(func(t *testing.T, status int, body, name, value string, broken bool) {
		// No substring of what stands for them, so that only the answer can
		// have brought them in.
		creds := aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "¤secret/key+1", SessionToken: "§session/token+2=="}
		secrets := strings.NewReplacer("¤", creds.SecretAccessKey, "§", creds.SessionToken)
		header := http.Header{"X-Amz-Request-Id": {"r"}}
		header[http.CanonicalHeaderKey(name)] = []string{secrets.Replace(value), value}
		e := newAnswer("s3", "PutObject", status, header, []byte(secrets.Replace(body)), time.Unix(0, 0), creds)
		if broken {
			e.brokeOff(errors.New("reset"))
		}
		noSecrets(t, e, creds)
		if class := e.Class(); class < auditdrain.Transient || class > auditdrain.Blocked {
			t.Errorf("class %d", class)
		}
		if _, err := json.Marshal(e.Answer); err != nil {
			t.Error(err)
		}
		serverTime(e)
	})
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		`<Error><Token-0>secret</Token-0><A>b</A></Error>`:               `<Error><Token-0>[redacted]</Token-0><A>b</A></Error>`,
		`<Token-0>x</Token-0><Token-1>y</Token-1>`:                       `<Token-0>[redacted]</Token-0><Token-1>[redacted]</Token-1>`,
		"<StringToSign>AWS4\nx</StringToSign><CanonicalRequest>PUT\n\n/": "<StringToSign>[redacted]</StringToSign><CanonicalRequest>[redacted]",
		`<CanonicalRequestBytes>50 55</CanonicalRequestBytes>`:           `<CanonicalRequestBytes>[redacted]</CanonicalRequestBytes>`,
		`<StringToSignBytes>41</StringToSignBytes>`:                      `<StringToSignBytes>[redacted]</StringToSignBytes>`,
		`<SignatureProvided>abc</SignatureProvided>`:                     `<SignatureProvided>[redacted]</SignatureProvided>`,
		`<CanonicalRequest>a</b>secret</CanonicalRequest><C>d</C>`:       `<CanonicalRequest>[redacted]</CanonicalRequest><C>d</C>`,
		`<CanonicalRequest>a</b>secret`:                                  `<CanonicalRequest>[redacted]`,
		`<Token-0 a="b">x</Token-0 >y`:                                   `<Token-0 a="b">[redacted]</Token-0 >y`,
		`<Token-0>secret</Tok`:                                           `<Token-0>[redacted]`,
		`<TokenOfLove>shown</TokenOfLove>`:                               `<TokenOfLove>shown</TokenOfLove>`,
		"":                                                               "",
	} {
		if got := redact([]byte(in)); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}
