package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/auditdrain/auditdrain"
)

// Options are the ways in which a destination may differ.
type Options struct {
	// Unconditional leaves out If-None-Match: the store has said before that
	// it does not implement it.
	Unconditional bool
	// Test writes under test/, with a session of its own that is not reused.
	Test bool
}

// Destination writes the events of one drain. It is safe for concurrent use
// and holds no connection.
type Destination struct {
	client        *Client
	delivery      auditdrain.Delivery
	base          *url.URL // scheme, host and, path-style, the bucket
	owner         string
	sessionARN    string
	key           sessionKey
	session       *session
	test          bool
	unconditional atomic.Bool
}

// PutResult is how an object came to be where it is.
type PutResult struct {
	Key string
	// Existed: the object had been written before; it was left as it is.
	Existed bool
	// Unconditional: the store does not implement If-None-Match, so that the
	// object was written over whatever was there: the same bytes.
	Unconditional bool
}

// Open returns the destination of a drain whose delivery has been validated.
// It makes no call. The drain may have no ID yet, for a test.
func (c *Client) Open(d auditdrain.Drain, opts Options) (*Destination, error) {
	role, ok := auditdrain.ParseRoleARN(d.Delivery.RoleARN)
	if !ok {
		return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "delivery.roleArn: %q is not an IAM role ARN", d.Delivery.RoleARN)
	}
	bucket, _ := d.Delivery.SplitEndpoint()
	o := c.endpoints
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), awss3.EndpointParameters{
		Bucket:         aws.String(bucket),
		Region:         aws.String(d.Delivery.Region),
		Endpoint:       o.BaseEndpoint,
		ForcePathStyle: aws.Bool(o.UsePathStyle),
		UseFIPS:        aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack:   aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	}.WithDefaults())
	if err != nil {
		return nil, fmt.Errorf("find the endpoint of bucket %s in %s: %w", bucket, d.Delivery.Region, err)
	}
	policy, err := sessionPolicy(d.Delivery)
	if err != nil {
		return nil, err
	}
	name := "auditdrain-test"
	if d.ID != "" {
		name = "auditdrain-" + d.ID
	}
	dest := &Destination{
		client:   c,
		delivery: d.Delivery,
		base:     &endpoint.URI,
		owner:    role.Account,
		key: sessionKey{
			roleARN:    d.Delivery.RoleARN,
			externalID: c.namespace.ExternalID(d.TeamID),
			name:       name,
			policy:     policy,
			stsRegion:  c.stsRegion(d.Delivery.Region),
		},
		sessionARN: fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", role.Partition, role.Account, role.Name, name),
		test:       opts.Test,
	}
	dest.unconditional.Store(opts.Unconditional)
	if opts.Test {
		dest.session = c.newSession(dest.key)
	} else {
		dest.session = c.session(dest.key)
	}
	return dest, nil
}

// Close forgets the destination's session. Writes under way may finish.
func (d *Destination) Close() {
	if !d.test {
		d.client.forget(d.key)
	}
}

// Put writes e's object and returns when S3 has confirmed it, or when it
// was there already. It may be repeated after any error: the bytes are the
// same. What AWS answered to a call that failed is an *Error. An expired
// session and a clock that differs from S3's are mended here, once a call.
func (d *Destination) Put(ctx context.Context, e auditdrain.Event) (PutResult, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	key := d.delivery.ObjectKey(e, d.test)
	body := d.delivery.ObjectBody(e)

	mended := false
	for {
		creds, err := d.session.credentials(ctx)
		if err != nil {
			return PutResult{}, err
		}
		unconditional := d.unconditional.Load()
		put, answer := d.put(ctx, creds, key, body, unconditional)
		result := PutResult{Key: key, Existed: put == existed, Unconditional: unconditional}
		switch put {
		case written, existed:
			return result, nil
		case notImplemented:
			d.unconditional.Store(true)
			continue
		case sessionRefused:
			d.session.drop(creds)
		case clockSkewed:
			d.client.adjustClock(answer)
		case refused:
			return PutResult{}, answer
		}
		if mended {
			return PutResult{}, answer
		}
		mended = true
	}
}

// outcome is what a PUT came to.
type outcome int

const (
	refused        outcome = iota // see the *Error
	written                       // 2xx
	existed                       // 412 on our condition
	notImplemented                // 501 on our condition
	sessionRefused                // a new session may help
	clockSkewed                   // signing with the server's clock may help
)

func (d *Destination) put(ctx context.Context, creds aws.Credentials, key string, body []byte, unconditional bool) (outcome, *Error) {
	req, err := d.request(ctx, creds, key, body, unconditional)
	if err != nil {
		return refused, d.noAnswer(key, fmt.Errorf("sign: %w", err))
	}
	resp, err := d.client.transport.RoundTrip(req)
	if err != nil {
		return refused, d.noAnswer(key, err)
	}
	defer resp.Body.Close()
	answerBody, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		// The object is there, even if we could not read the rest.
		return written, nil
	}
	if err != nil {
		return refused, d.noAnswer(key, fmt.Errorf("read the answer (HTTP %d): %w", resp.StatusCode, err))
	}
	answer := newS3Error(resp, answerBody, d.client.now())
	d.complete(answer, key)
	switch code := answer.Answer.Code; {
	case resp.StatusCode == http.StatusPreconditionFailed && !unconditional:
		return existed, nil
	case resp.StatusCode == http.StatusNotImplemented && !unconditional:
		return notImplemented, answer
	case code == "ExpiredToken", code == "InvalidToken", code == "InvalidAccessKeyId", code == "TokenRefreshRequired":
		return sessionRefused, answer
	case code == "RequestTimeTooSkewed":
		return clockSkewed, answer
	}
	return refused, answer
}

// request returns the signed PutObject request.
func (d *Destination) request(ctx context.Context, creds aws.Credentials, key string, body []byte, unconditional bool) (*http.Request, error) {
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	header := http.Header{
		"Content-Type":                {d.delivery.ContentType()},
		"Content-Length":              {strconv.Itoa(len(body))},
		"X-Amz-Content-Sha256":        {digest},
		"X-Amz-Checksum-Sha256":       {base64.StdEncoding.EncodeToString(sum[:])},
		"X-Amz-Expected-Bucket-Owner": {d.owner},
		"User-Agent":                  {"auditdrain"},
	}
	if !unconditional {
		header["If-None-Match"] = []string{"*"}
	}
	if d.delivery.ServerSideEncryption != "" {
		header["X-Amz-Server-Side-Encryption"] = []string{d.delivery.ServerSideEncryption}
	}
	if d.delivery.ObjectACL != "" {
		header["X-Amz-Acl"] = []string{d.delivery.ObjectACL}
	}
	base := strings.TrimSuffix(d.base.Path, "/")
	u := &url.URL{
		Scheme: d.base.Scheme,
		Host:   d.base.Host,
		Path:   base + "/" + key,
		// S3's canonical request has the path URI-encoded once, "=" as %3D:
		// what is signed must be what is sent.
		RawPath: httpbinding.EscapePath(base, false) + "/" + httpbinding.EscapePath(key, false),
	}
	req := (&http.Request{
		Method:        http.MethodPut,
		URL:           u,
		Host:          u.Host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
	now := d.client.now().Add(time.Duration(d.client.clockOffset.Load()))
	err := d.client.signer.SignHTTP(ctx, creds, req, digest, "s3", d.delivery.Region, now,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return req, err
}

// complete adds to an answer what AWS does not repeat.
func (d *Destination) complete(e *Error, key string) {
	e.Answer.Host = d.base.Host
	e.Answer.Key = key
	e.Answer.RoleARN = d.delivery.RoleARN
	e.Answer.CallerARN = d.sessionARN
}

func (d *Destination) noAnswer(key string, err error) *Error {
	e := noAnswer("s3", "PutObject", err, d.client.now())
	d.complete(e, key)
	return e
}

// adjustClock takes over the clock of a server that found ours too far off.
func (c *Client) adjustClock(e *Error) {
	if server, ok := serverTime(e); ok {
		c.clockOffset.Store(int64(server.Sub(c.now())))
	}
}
