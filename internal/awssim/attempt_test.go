package awssim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// answer is a refusal, taken apart.
type answer struct {
	status   int
	header   http.Header
	elements map[string]string // of the <Error>, and RequestId
	root     string
	body     string
}

// attempt is one request that is to be made, with everything right. Tests
// break one thing of it, or of the world.
type attempt struct {
	w       *world
	creds   awssim.Credentials
	time    time.Time
	region  string
	service string
	method  string
	host    string // "" for the server's own
	path    string // escaped
	header  http.Header
	body    string
	hash    string // of the payload, "" for the right one
	tamper  func(*http.Request)
}

func (w *world) newPut() *attempt {
	w.t.Helper()
	sum := crc32.ChecksumIEEE([]byte(objectBody))
	return &attempt{
		w: w, creds: w.mustAssume(), time: time.Now(), region: region, service: "s3", method: http.MethodPut,
		path: "/" + bucketName + "/" + strings.ReplaceAll(objectKey, "=", "%3D"), body: objectBody,
		header: http.Header{
			"Content-Type":                {"application/json"},
			"If-None-Match":               {"*"},
			"X-Amz-Expected-Bucket-Owner": {customerAccount},
			"X-Amz-Checksum-Crc32":        {base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))},
		},
	}
}

func (w *world) newAssume(form url.Values) *attempt {
	w.t.Helper()
	all := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"},
		"RoleArn": {roleARN}, "RoleSessionName": {"auditdrain-drn_1"}, "ExternalId": {externalID},
	}
	for name, values := range form {
		if all[name] = values; values == nil {
			delete(all, name)
		}
	}
	return &attempt{
		w: w, creds: w.writer(), time: time.Now(), region: region, service: "sts", method: http.MethodPost, path: "/",
		body: all.Encode(), header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

const objectBody = `{"id":"uev_1"}`

func (a *attempt) send() *http.Response {
	t := a.w.t
	t.Helper()
	req, err := http.NewRequest(a.method, a.w.url+a.path, strings.NewReader(a.body))
	must(t, err)
	req.Header = a.header.Clone()
	req.Host = a.host
	hash := a.hash
	if hash == "" {
		sum := sha256.Sum256([]byte(a.body))
		hash = hex.EncodeToString(sum[:])
	}
	if a.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = a.service == "s3" })
	must(t, signer.SignHTTP(context.Background(), aws.Credentials{
		AccessKeyID: a.creds.AccessKeyID, SecretAccessKey: a.creds.SecretKey, SessionToken: a.creds.SessionToken,
	}, req, hash, a.service, a.region, a.time))
	if a.tamper != nil {
		a.tamper(req)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // not a Client: it would follow redirects
	must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func (a *attempt) answer() answer {
	t := a.w.t
	t.Helper()
	res := a.send()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	ans := answer{status: res.StatusCode, header: res.Header, elements: map[string]string{}, body: string(body)}
	dec := xml.NewDecoder(bytes.NewReader(body))
	var name string
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return ans
		}
		must(t, err)
		switch tok := tok.(type) {
		case xml.StartElement:
			if name = tok.Name.Local; ans.root == "" {
				ans.root = tok.Name.Space + " " + name
			}
		case xml.CharData:
			if name != "" {
				ans.elements[name] += string(tok)
			}
		case xml.EndElement:
			name = ""
		}
	}
}

// refusal is one row of "How AWS refuses", with what brings it about.
type refusal struct {
	name    string
	form    url.Values     // non-nil: AssumeRole, not PutObject
	world   func(*world)   // done before the session is there
	attempt func(*attempt) // done after it
	status  int
	code    string
	message string
	header  [2]string
	element [2]string
}

func checkRefusals(t *testing.T, refusals []refusal) {
	for _, want := range refusals {
		t.Run(want.name, func(t *testing.T) {
			w := newWorld(t)
			if want.world != nil {
				want.world(w)
			}
			var a *attempt
			if want.form != nil {
				a = w.newAssume(want.form)
			} else {
				a = w.newPut()
			}
			if want.attempt != nil {
				want.attempt(a)
			}
			got := a.answer()
			if got.status != want.status || got.elements["Code"] != want.code {
				t.Fatalf("answered %d %s, want %d %s\n%s", got.status, got.elements["Code"], want.status, want.code, got.body)
			}
			if want.message != "" && got.elements["Message"] != want.message {
				t.Errorf("message\n%s\nwant\n%s", got.elements["Message"], want.message)
			}
			if want.header[0] != "" && got.header.Get(want.header[0]) != want.header[1] {
				t.Errorf("header %s: %q, want %q", want.header[0], got.header.Get(want.header[0]), want.header[1])
			}
			if want.element[0] != "" && got.elements[want.element[0]] != want.element[1] {
				t.Errorf("element %s: %q, want %q", want.element[0], got.elements[want.element[0]], want.element[1])
			}
			checkShape(t, got, want.form != nil)
			if want.name != "already there" {
				objects, err := w.Objects(bucketName)
				must(t, err)
				if len(objects) > 0 {
					t.Errorf("refused, and yet there is an object")
				}
			}
		})
	}
}

// checkShape checks what all refusals of a service have.
func checkShape(t *testing.T, got answer, isSTS bool) {
	t.Helper()
	if isSTS {
		if got.root != "https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse" || got.elements["Type"] != "Sender" && got.status < 500 {
			t.Errorf("not an error of STS: %s", got.body)
		}
		if id := got.header.Get("X-Amzn-Requestid"); id == "" || id != got.elements["RequestId"] {
			t.Errorf("request ID %q in the header, %q in the body", id, got.elements["RequestId"])
		}
		return
	}
	if got.root != " Error" || got.header.Get("Content-Type") != "application/xml" {
		t.Errorf("not an error of S3: %s", got.body)
	}
	for header, element := range map[string]string{"X-Amz-Request-Id": "RequestId", "X-Amz-Id-2": "HostId"} {
		if id := got.header.Get(header); id == "" || id != got.elements[element] {
			t.Errorf("%s %q in the header, %q in the body", element, id, got.elements[element])
		}
	}
}

func replaceAuthorization(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
	}
}

// session assumes the customer's role with further parameters.
func (w *world) session(form url.Values) awssim.Credentials {
	w.t.Helper()
	return w.newAssume(form).credentials()
}

// credentials returns those of a successful AssumeRole.
func (a *attempt) credentials() awssim.Credentials {
	a.w.t.Helper()
	ans := a.answer()
	if ans.status != 200 {
		a.w.t.Fatal(ans.body)
	}
	return awssim.Credentials{
		AccessKeyID: ans.elements["AccessKeyId"], SecretKey: ans.elements["SecretAccessKey"], SessionToken: ans.elements["SessionToken"],
	}
}

func policyOf(effect, principal, action string) *iam.Policy {
	return iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "` + effect + `", ` + principal + `"Action": "` + action + `", "Resource": "*"}]}`)
}

// What refusals do to the world, and to the attempt.

func role(change func(*awssim.Role)) func(*world) {
	return func(w *world) { w.UpdateRole(roleARN, change) }
}

func bucket(change func(*awssim.Bucket)) func(*world) {
	return func(w *world) { w.UpdateBucket(bucketName, change) }
}

func account(change func(*awssim.Account)) func(*world) {
	return func(w *world) { w.UpdateAccount(customerAccount, change) }
}

func encrypted(w *world) {
	w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
		b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: keyARN}
	})
}

func key(change func(*awssim.Key)) func(*world) {
	return func(w *world) { encrypted(w); w.UpdateKey(keyARN, change) }
}

func header(name, value string) func(*attempt) {
	return func(a *attempt) { a.header.Set(name, value) }
}

func fault(f awssim.Fault) func(*attempt) {
	return func(a *attempt) { a.w.SetFault(func(awssim.FaultRequest) awssim.Fault { return f }) }
}
