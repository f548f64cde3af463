package s3

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// noSecrets fails the test if any of creds is in what is shown of e.
func noSecrets(t testing.TB, e *Error, creds aws.Credentials) {
	t.Helper()
	shown, err := json.Marshal(e.Answer)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(shown), e.Error(), fmt.Sprintf("%+v", e)} {
		for _, secret := range []string{creds.SecretAccessKey, creds.SessionToken} {
			if secret != "" && strings.Contains(s, secret) {
				t.Errorf("%q is in %s", secret, s)
			}
		}
	}
}

// wantComplete checks what every answer of AWS's must have, and returns it.
func wantComplete(t *testing.T, e *Error, host string, since time.Time) auditdrain.AWSAnswer {
	t.Helper()
	a := e.Answer
	header := http.Header(a.Headers)
	requestID := header.Get("x-amzn-RequestId")
	if a.Service == "s3" {
		requestID = header.Get("x-amz-request-id")
		if a.ExtendedRequestID == "" || a.ExtendedRequestID != header.Get("x-amz-id-2") {
			t.Errorf("extended request id %q", a.ExtendedRequestID)
		}
	}
	if a.RequestID == "" || a.RequestID != requestID {
		t.Errorf("request id %q, want %q", a.RequestID, requestID)
	}
	if at := time.UnixMilli(a.Time); at.Before(since.Truncate(time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("time %s, the call was after %s", at, since)
	}
	if a.Host != host || a.Key != "audit-logs/"+eventKey || a.RoleARN != roleARN || header.Get("Date") == "" {
		t.Errorf("host %q, key %q, role %q, headers %q", a.Host, a.Key, a.RoleARN, a.Headers)
	}
	contains(t, a.Body, "<Code>"+a.Code+"</Code>", a.RequestID)
	contains(t, e.Error(), a.Service+" "+a.Operation, fmt.Sprint("HTTP ", a.HTTPStatus, " ", a.Code, ": ", a.Message), a.RequestID)
	return a
}

// Every row of "How AWS refuses" that our two calls can meet.
func TestRefusals(t *testing.T) {
	role := func(change func(*awssim.Role)) func(*world) {
		return func(w *world) { w.UpdateRole(roleARN, change) }
	}
	inBucket := func(change func(*awssim.Bucket)) func(*world) {
		return func(w *world) { w.UpdateBucket(bucket, change) }
	}
	key := func(change func(*awssim.Key)) func(*world) {
		return func(w *world) {
			w.UpdateBucket(bucket, func(b *awssim.Bucket) {
				b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
			})
			w.UpdateKey(keyARN, change)
		}
	}
	fault := func(op string, status int, code, message string, detail ...awssim.Element) func(*world) {
		return func(w *world) {
			w.fault(op, awssim.Fault{Err: &awssim.Error{Status: status, Code: code, Message: message, Detail: detail}})
		}
	}
	statement := func(effect, principal, action, condition string) *iam.Policy {
		return iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "` + effect + `", ` + principal + `"Action": "` + action + `", "Resource": "*"` + condition + `}]}`)
	}
	everyone := `"Principal": "*", `

	tests := []struct {
		name    string
		world   func(*world)
		change  func(*auditdrain.Delivery)
		op      string // PutObject if ""
		status  int
		code    string
		message string // part of it
		class   auditdrain.FailureClass
		check   func(*testing.T, auditdrain.AWSAnswer)
	}{
		{
			name: "principal not trusted", op: "AssumeRole",
			world: role(func(r *awssim.Role) {
				r.Trust = iam.MustParse(strings.ReplaceAll(trustPolicy, userARN, userARN+"2"))
			}),
			status: 403, code: "AccessDenied", message: "User: " + userARN + " is not authorized to perform: sts:AssumeRole on resource: " + roleARN, class: auditdrain.Blocked,
		},
		{
			name: "external ID not trusted", op: "AssumeRole",
			world: role(func(r *awssim.Role) {
				r.Trust = iam.MustParse(strings.ReplaceAll(trustPolicy, "team_demo", "team_other"))
			}),
			status: 403, code: "AccessDenied", message: "sts:AssumeRole", class: auditdrain.Blocked,
		},
		{
			name: "role does not exist", op: "AssumeRole", world: func(w *world) { w.RemoveRole(roleARN) },
			status: 403, code: "AccessDenied", message: "sts:AssumeRole", class: auditdrain.Blocked,
		},
		{
			name: "AssumeRole: bad input", op: "AssumeRole", world: fault("AssumeRole", 400, "ValidationError", "1 validation error detected: Value 'x' at 'y'"),
			status: 400, code: "ValidationError", message: "1 validation error", class: auditdrain.Blocked,
		},
		{
			name: "STS not active in the region", op: "AssumeRole",
			world: func(w *world) {
				w.UpdateAccount(account, func(a *awssim.Account) { a.DisabledSTS = []string{region} })
			},
			status: 403, code: "RegionDisabledException", message: "STS is not activated in this region for account:" + account, class: auditdrain.Blocked,
		},
		{
			name: "our own token expired", op: "AssumeRole", world: fault("AssumeRole", 403, "ExpiredToken", "The security token included in the request is expired"),
			status: 403, code: "ExpiredToken", message: "is expired", class: auditdrain.Transient,
		},
		{
			name: "STS throttles", op: "AssumeRole", world: fault("AssumeRole", 400, "Throttling", "Rate exceeded"),
			status: 400, code: "Throttling", message: "Rate exceeded", class: auditdrain.Throttled,
		},
		{
			name: "STS's own fault", op: "AssumeRole", world: fault("AssumeRole", 500, "InternalFailure", "unknown error"),
			status: 500, code: "InternalFailure", message: "unknown error", class: auditdrain.Transient,
		},
		{
			name: "identity policy does not allow", world: role(func(r *awssim.Role) { r.Identity = nil }),
			status: 403, code: "AccessDenied", message: "because no identity-based policy allows the s3:PutObject action", class: auditdrain.Blocked,
		},
		{
			name:   "explicit deny in the bucket policy",
			world:  inBucket(func(b *awssim.Bucket) { b.Policy = statement("Deny", everyone, "s3:PutObject", "") }),
			status: 403, code: "AccessDenied", message: "with an explicit deny in a resource-based policy", class: auditdrain.Blocked,
		},
		{
			name: "explicit deny in an SCP",
			world: func(w *world) {
				w.UpdateAccount(account, func(a *awssim.Account) { a.SCP = []*iam.Policy{statement("Deny", "", "s3:PutObject", "")} })
			},
			status: 403, code: "AccessDenied", message: "with an explicit deny in a service control policy", class: auditdrain.Blocked,
		},
		{
			name: "KMS: identity policy",
			world: func(w *world) {
				key(func(k *awssim.Key) {
					k.Policy = statement("Allow", `"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, `, "kms:*", "")
				})(w)
				w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = []*iam.Policy{statement("Allow", "", "s3:*", "")} })
			},
			status: 403, code: "AccessDenied", message: "because no identity-based policy allows the kms:GenerateDataKey action", class: auditdrain.Blocked,
		},
		{
			name:   "KMS: key policy",
			world:  key(func(k *awssim.Key) { k.Policy = iam.MustParse(strings.ReplaceAll(keyPolicy, roleARN, roleARN+"2")) }),
			status: 403, code: "AccessDenied", message: "because no resource-based policy allows the kms:GenerateDataKey action", class: auditdrain.Blocked,
		},
		{
			name: "KMS key disabled", world: key(func(k *awssim.Key) { k.State = awssim.KeyDisabled }),
			status: 400, code: "KMS.DisabledException", message: "is disabled.", class: auditdrain.Blocked,
		},
		{
			name: "KMS key pending deletion", world: key(func(k *awssim.Key) { k.State = awssim.KeyPendingDeletion }),
			status: 400, code: "KMS.KMSInvalidStateException", message: "is pending deletion.", class: auditdrain.Blocked,
		},
		{
			name: "KMS key missing", world: func(w *world) { key(func(*awssim.Key) {})(w); w.RemoveKey(keyARN) },
			status: 400, code: "KMS.NotFoundException", message: "does not exist", class: auditdrain.Blocked,
		},
		{
			name: "KMS throttles", world: fault("PutObject", 400, "KMS.ThrottlingException", "You have exceeded the rate at which you may call KMS."),
			status: 400, code: "KMS.ThrottlingException", message: "rate", class: auditdrain.Throttled,
		},
		{
			name: "bucket missing", world: func(w *world) { w.RemoveBucket(bucket) },
			status: 404, code: "NoSuchBucket", message: "The specified bucket does not exist", class: auditdrain.Blocked,
		},
		{
			name: "bucket of another account, which would let us write",
			world: inBucket(func(b *awssim.Bucket) {
				b.Account, b.Policy = "444455556666", statement("Allow", everyone, "s3:*", "")
			}),
			status: 403, code: "AccessDenied", message: "Access Denied", class: auditdrain.Blocked,
		},
		{
			name:   "signed for the wrong region",
			change: func(d *auditdrain.Delivery) { d.Region = "eu-central-1" },
			status: 400, code: "AuthorizationHeaderMalformed", message: "the region 'eu-central-1' is wrong; expecting 'eu-west-1'", class: auditdrain.Blocked,
			check: func(t *testing.T, a auditdrain.AWSAnswer) {
				if got := http.Header(a.Headers).Get("x-amz-bucket-region"); got != region {
					t.Errorf("bucket region %q", got)
				}
			},
		},
		{
			name:   "ACLs disabled on the bucket",
			change: func(d *auditdrain.Delivery) { d.ObjectACL = "private" },
			status: 400, code: "AccessControlListNotSupported", message: "The bucket does not allow ACLs", class: auditdrain.Blocked,
		},
		{
			name: "checksum does not match", world: fault("PutObject", 400, "BadDigest", "The SHA256 you specified did not match the calculated checksum."),
			status: 400, code: "BadDigest", message: "did not match", class: auditdrain.Transient,
		},
		{
			name: "our session expired, twice", world: fault("PutObject", 400, "ExpiredToken", "The provided token has expired.", awssim.Element{Name: "Token-0", Value: "FwoGsecret"}),
			status: 400, code: "ExpiredToken", message: "has expired", class: auditdrain.Transient,
			check: func(t *testing.T, a auditdrain.AWSAnswer) {
				contains(t, a.Body, "<Token-0>[redacted]</Token-0>")
				if strings.Contains(a.Body, "FwoG") {
					t.Errorf("body %s", a.Body)
				}
			},
		},
		{
			name:   "our token not valid there: a region that the account has not enabled",
			change: func(d *auditdrain.Delivery) { d.Region = "me-south-1" },
			world:  inBucket(func(b *awssim.Bucket) { b.Region = "me-south-1" }),
			status: 400, code: "InvalidToken", message: "malformed or otherwise invalid", class: auditdrain.Blocked,
			check: func(t *testing.T, a auditdrain.AWSAnswer) { contains(t, a.Body, "<Token-0>[redacted]</Token-0>") },
		},
		{
			name: "unknown key", world: fault("PutObject", 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
			status: 403, code: "InvalidAccessKeyId", message: "does not exist", class: auditdrain.Blocked,
		},
		{
			name: "bad signature",
			world: fault("PutObject", 403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.",
				awssim.Element{Name: "StringToSign", Value: "AWS4-HMAC-SHA256\nx"}, awssim.Element{Name: "CanonicalRequest", Value: "PUT\nx-amz-security-token:FwoG"}),
			status: 403, code: "SignatureDoesNotMatch", message: "does not match", class: auditdrain.Blocked,
			check: func(t *testing.T, a auditdrain.AWSAnswer) {
				contains(t, a.Body, "<StringToSign>[redacted]</StringToSign>", "<CanonicalRequest>[redacted]</CanonicalRequest>")
			},
		},
		{
			name: "throttled", world: fault("PutObject", 503, "SlowDown", "Please reduce your request rate."),
			status: 503, code: "SlowDown", message: "reduce your request rate", class: auditdrain.Throttled,
		},
		{
			name: "AWS's own fault", world: fault("PutObject", 500, "InternalError", "We encountered an internal error. Please try again."),
			status: 500, code: "InternalError", message: "internal error", class: auditdrain.Transient,
		},
		{
			name: "AWS's own fault, 503", world: fault("PutObject", 503, "ServiceUnavailable", "Service is unable to handle request."),
			status: 503, code: "ServiceUnavailable", message: "unable to handle", class: auditdrain.Throttled,
		},
		{
			name: "concurrent write of the same key", world: fault("PutObject", 409, "ConditionalRequestConflict", "The conditional request cannot succeed"),
			status: 409, code: "ConditionalRequestConflict", message: "cannot succeed", class: auditdrain.Transient,
		},
		{
			name: "slow upload", world: fault("PutObject", 400, "RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period."),
			status: 400, code: "RequestTimeout", message: "timeout period", class: auditdrain.Transient,
		},
		{
			name: "new bucket", world: fault("PutObject", 307, "TemporaryRedirect", "Please re-send this request to the specified temporary endpoint."),
			status: 307, code: "TemporaryRedirect", message: "temporary endpoint", class: auditdrain.Transient,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.world != nil {
				tt.world(w)
			}
			if tt.change == nil {
				tt.change = func(*auditdrain.Delivery) {}
			}
			c := w.client(t)
			if _, err := c.CallerARN(t.Context()); err != nil {
				t.Fatal(err)
			}
			d := mustOpen(t, c, tt.change)
			since := time.Now()
			e := putError(t, t.Context(), d)
			a := wantComplete(t, e, strings.TrimPrefix(w.url, "http://"), since)

			service, op, who := "s3", "PutObject", caller
			if tt.op != "" {
				service, op, who = "sts", tt.op, userARN
			}
			if a.Service != service || a.Operation != op || a.CallerARN != who {
				t.Errorf("%s %s by %s, want %s %s by %s", a.Service, a.Operation, a.CallerARN, service, op, who)
			}
			if a.HTTPStatus != tt.status || a.Code != tt.code || e.Class() != tt.class {
				t.Errorf("%d %s (%v), want %d %s (%v)", a.HTTPStatus, a.Code, e.Class(), tt.status, tt.code, tt.class)
			}
			contains(t, a.Message, tt.message)
			if tt.check != nil {
				tt.check(t, a)
			}
			creds, err := d.session.credentials(t.Context())
			if err == nil {
				noSecrets(t, e, creds)
			}
			noSecrets(t, e, aws.Credentials{SecretAccessKey: userToken})
		})
	}
}

// A real mismatch of signatures, which S3 answers with all that it was made
// of, session token and all.
func TestSignatureMismatchIsRedacted(t *testing.T) {
	w := newWorld(t)
	d := w.open(t)
	mustPut(t, d, event("uev_0"))
	d.session.mu.Lock()
	d.session.creds.SecretAccessKey += "x"
	creds := d.session.creds
	d.session.mu.Unlock()
	for _, truncate := range []bool{false, true} {
		w.fault("PutObject", awssim.Fault{Truncate: truncate})
		e := putError(t, t.Context(), d)
		if e.Answer.Code != "SignatureDoesNotMatch" || e.Class() != auditdrain.Blocked {
			t.Errorf("%v (%v)", e, e.Class())
		}
		contains(t, e.Answer.Body, "<StringToSign>[redacted]</StringToSign>")
		noSecrets(t, e, creds)
		if strings.Contains(e.Answer.Body, creds.SessionToken[:40]) {
			t.Errorf("truncated %t: a part of the token is in %s", truncate, e.Answer.Body)
		}
	}
}

// The wrong regional endpoint is answered with a redirect, which is not
// followed: it is for a person to mend.
func TestPermanentRedirect(t *testing.T) {
	w := newSim(t)
	addr, caFile := w.serveTLS(t)
	awsEnv(t, "AWS_CA_BUNDLE="+caFile)
	w.UpdateBucket(bucket, func(b *awssim.Bucket) { b.Region = "us-west-2" })
	c := loadClient(t)
	dialTo(c, addr)
	e := putError(t, t.Context(), mustOpen(t, c))
	if e.Answer.HTTPStatus != 301 || e.Answer.Code != "PermanentRedirect" || e.Class() != auditdrain.Blocked ||
		http.Header(e.Answer.Headers).Get("x-amz-bucket-region") != "us-west-2" || e.Answer.Host != bucket+".s3.eu-west-1.amazonaws.com" {
		t.Errorf("%+v (%v)", e.Answer, e.Class())
	}
}

// What is in front of AWS, or pretends to be it, can answer anything.
func TestStrangeAnswers(t *testing.T) {
	page := "<html><body><h1>502 Bad Gateway</h1></body></html>"
	tests := []struct {
		name    string
		status  int
		body    string
		message string
		class   auditdrain.FailureClass
	}{
		{"a proxy's page", 502, page, "Bad Gateway", auditdrain.Transient},
		{"a proxy's refusal", 403, page, "Forbidden", auditdrain.Blocked},
		{"nothing", 400, "", "Bad Request", auditdrain.Blocked},
		{"nothing, 503", 503, "", "Service Unavailable", auditdrain.Throttled},
		{"no XML", 500, "\x00\xff<<", "Internal Server Error", auditdrain.Transient},
		{"half an element", 500, "<Error><Code>Inter", "Internal Server Error", auditdrain.Transient},
		{"half an answer", 500, "<Error><Code>InternalError</Code><Message>We enc", "Internal Server Error", auditdrain.Transient},
		{"unknown status", 599, "", "", auditdrain.Transient},
		{"a redirect", 302, page, "Found", auditdrain.Blocked},
	}
	for _, tt := range tests {
		for _, op := range []string{"AssumeRole", "PutObject"} {
			t.Run(tt.name+" to "+op, func(t *testing.T) {
				w := newSim(t)
				w.url = serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if (r.Method == http.MethodPut) != (op == "PutObject") {
						w.handler.ServeHTTP(rw, r)
						return
					}
					rw.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
					rw.WriteHeader(tt.status)
					fmt.Fprint(rw, tt.body)
				}))
				e := putError(t, t.Context(), w.open(t))
				a := e.Answer
				if a.Operation != op || a.HTTPStatus != tt.status || a.Message != tt.message || e.Class() != tt.class {
					t.Errorf("%s %d %q (%v), want %d %q (%v)", a.Operation, a.HTTPStatus, a.Message, e.Class(), tt.status, tt.message, tt.class)
				}
				if want := strings.ToValidUTF8(tt.body, "�"); a.Body != want || a.Headers["Location"] == nil {
					t.Errorf("body %q, headers %q", a.Body, a.Headers)
				}
			})
		}
	}
}

func TestAnswerBreaksOff(t *testing.T) {
	w := newWorld(t)
	w.UpdateRole(roleARN, func(r *awssim.Role) { r.Identity = nil })
	d := w.open(t)

	// With the code, it is as good as whole.
	w.fault("PutObject", awssim.Fault{Truncate: true})
	e := putError(t, t.Context(), d)
	if e.Answer.HTTPStatus != 403 || e.Answer.Code != "AccessDenied" || e.Answer.RequestID == "" || e.Class() != auditdrain.Blocked {
		t.Errorf("%+v (%v)", e.Answer, e.Class())
	}
	// Without, who knows.
	for _, op := range []string{"PutObject", "AssumeRole"} {
		w.fault(op, awssim.Fault{Truncate: true, Garbage: true, Err: &awssim.Error{Status: 400}})
		e = putError(t, t.Context(), mustOpen(t, w.client(t)))
		if e.Answer.HTTPStatus != 400 || e.Answer.RequestID == "" || e.Class() != auditdrain.Transient {
			t.Errorf("%s: %+v (%v)", op, e.Answer, e.Class())
		}
		contains(t, e.Answer.Message, "the answer broke off: the connection broke off")
	}
}

// An answer of success that cannot be used says so, and may hold credentials.
func TestAssumeRoleAnswerCannotBeUsed(t *testing.T) {
	const begin, end = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`, `</AssumeRoleResult></AssumeRoleResponse>`
	for name, body := range map[string]string{
		"empty":         "",
		"a page":        "<html>Welcome",
		"broken off":    begin + `<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hidden`,
		"no result":     begin + end,
		"no expiry":     begin + `<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><SessionToken>hidden</SessionToken></Credentials>` + end,
		"no secret":     begin + `<Credentials><AccessKeyId>ASIA</AccessKeyId><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>` + end,
		"wrong expiry":  begin + `<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><Expiration>soon</Expiration></Credentials>` + end,
		"not XML at it": begin + "\x01hidden" + end,
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("x-amzn-RequestId", "r1")
				fmt.Fprint(rw, body)
			}))
			w := &world{url: url}
			e := putError(t, t.Context(), w.open(t))
			a := e.Answer
			if a.Service != "sts" || a.HTTPStatus != 200 || a.RequestID != "r1" || a.Body != "" || e.Class() != auditdrain.Transient {
				t.Errorf("%+v (%v)", a, e.Class())
			}
			contains(t, a.Message, "the answer cannot be used: ")
			if s := fmt.Sprintf("%+v %v", e, a); strings.Contains(s, "hidden") {
				t.Errorf("a secret is in %s", s)
			}
		})
	}
}

func TestHugeAnswer(t *testing.T) {
	w := newSim(t)
	w.url = serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.handler.ServeHTTP(rw, r)
			return
		}
		rw.WriteHeader(500)
		for range 64 {
			fmt.Fprint(rw, strings.Repeat("x", maxAnswer))
		}
	}))
	if e := putError(t, t.Context(), w.open(t)); len(e.Answer.Body) != maxAnswer {
		t.Errorf("%d bytes were kept, want %d", len(e.Answer.Body), maxAnswer)
	}
}
