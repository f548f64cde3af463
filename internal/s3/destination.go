package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
	"github.com/auditdrain/auditdrain/internal/s3/wire"
)

// Options are the ways in which a destination may differ.
type Options struct {
	// Unconditional leaves out If-None-Match: the store has said before that
	// it does not implement it.
	Unconditional bool
	// Test writes under test/.
	Test bool
}

// Destination writes the events of one drain, with a session of its own. It
// is safe for concurrent use and holds no connection.
type Destination struct {
	client        *Client
	delivery      auditdrain.Delivery
	base          url.URL // scheme, host and, path-style, the bucket
	host          wire.Host
	form          *form
	keys          *signingKeys
	owner         string
	sessionARN    string
	session       *session
	test          bool
	unconditional atomic.Bool
}

// Open returns the destination of a drain whose delivery has been validated.
// It makes no call. The drain may have no ID yet, for a test.
func (c *Client) Open(d auditdrain.Drain, opts Options) (*Destination, error) {
	name := "auditdrain-test"
	if d.ID != "" {
		name = "auditdrain-" + d.ID
	}
	dest, err := c.open(d, name, sessionDuration, iam.GrantFor(d.Delivery).SessionPolicy(), !opts.Test)
	if err != nil {
		return nil, err
	}
	dest.test = opts.Test
	dest.unconditional.Store(opts.Unconditional)
	return dest, nil
}

// open returns a destination whose session has that name, duration and policy.
// queue says that asking for one waits its turn.
func (c *Client) open(d auditdrain.Drain, name string, duration time.Duration, policy string, queue bool) (*Destination, error) {
	role, ok := auditdrain.ParseRoleARN(d.Delivery.RoleARN)
	if !ok {
		return nil, auditdrain.Errorf(auditdrain.CodeBadRequest, "delivery.roleArn: %q is not an IAM role ARN", d.Delivery.RoleARN)
	}
	base, err := c.endpoint(d.Delivery)
	if err != nil {
		return nil, err
	}
	host := wire.HostOf(&base)
	form, err := newForm(d.Delivery, host.Name(), base.Path, role.Account, kind{contentType: d.Delivery.ContentType()})
	if err != nil {
		return nil, err
	}
	in := assumeInput(d, name, c.namespace.ExternalID(d.TeamID), duration, policy)
	region := c.stsRegion(d.Delivery.Region)
	return &Destination{
		client:     c,
		delivery:   d.Delivery,
		base:       base,
		host:       host,
		form:       form,
		keys:       &signingKeys{},
		owner:      role.Account,
		sessionARN: fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", role.Partition, role.Account, role.Name, name),
		session: newSession(c.serverNow, func(ctx context.Context, early bool) (aws.Credentials, error) {
			if queue {
				return c.assumeForDelivery(ctx, early, region, in)
			}
			return c.assumeRole(ctx, c.caller, region, in)
		}),
	}, nil
}

// assumeInput asks for a session of d's role, without an external ID if that
// is "".
func assumeInput(d auditdrain.Drain, name, externalID string, duration time.Duration, policy string) *sts.AssumeRoleInput {
	in := &sts.AssumeRoleInput{
		RoleArn:         aws.String(d.Delivery.RoleARN),
		RoleSessionName: aws.String(name),
		DurationSeconds: aws.Int32(int32(duration / time.Second)),
		Policy:          aws.String(policy),
	}
	if externalID != "" {
		in.ExternalId = aws.String(externalID)
	}
	return in
}

// endpoint returns where d's bucket is, by the SDK's rules: in the bucket's
// own host where its name allows TLS there, else in the path.
func (c *Client) endpoint(d auditdrain.Delivery) (url.URL, error) {
	bucket, _ := d.SplitEndpoint()
	o := c.endpoints
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), awss3.EndpointParameters{
		Bucket:   aws.String(bucket),
		Region:   aws.String(d.Region),
		Endpoint: o.BaseEndpoint,
		// A store that stands in for S3 need not have a host for each bucket.
		// The AWS command line does the same.
		ForcePathStyle: aws.Bool(o.BaseEndpoint != nil),
		UseFIPS:        aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack:   aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	}.WithDefaults())
	if err != nil {
		return url.URL{}, fmt.Errorf("find the endpoint of bucket %s in %s: %w", bucket, d.Region, err)
	}
	return endpoint.URI, nil
}

// Close forgets the session. Writes under way may finish.
func (d *Destination) Close() { d.session.forget() }

// SessionExpiry is when the session ends that writes are made with, zero if
// there is none.
func (d *Destination) SessionExpiry() time.Time { return d.session.expiry() }

// Put writes e's object and returns when S3 has confirmed it, or when it
// was there already. It may be repeated after any error: the bytes are the
// same. Its errors are *Error. A session that has expired or was revoked and
// a clock that differs from S3's are mended here, once a call.
//
// The first write, and any after a session's end, waits for a new session as
// long as ctx lets it: thousands may want one. Each call to STS and each
// attempt to write has a time of its own (Config).
func (d *Destination) Put(ctx context.Context, e auditdrain.Event) (auditdrain.PutResult, error) {
	return d.write(ctx, d.form, d.delivery.ObjectKey(e, d.test), d.delivery.ObjectBody(e))
}

// PutDocument writes an object of JSON that is no event's, below the delivery's
// prefix, with metadata whose names are of a-z, 0-9 and dashes. It guarantees what
// Put does.
func (d *Destination) PutDocument(ctx context.Context, key string, body []byte, metadata map[string]string) (auditdrain.PutResult, error) {
	if _, prefix := d.delivery.SplitEndpoint(); prefix != "" {
		key = prefix + "/" + key
	}
	f, err := newForm(d.delivery, d.host.Name(), d.base.Path, d.owner, kind{contentType: "application/json", metadata: metadata})
	if err != nil {
		return auditdrain.PutResult{}, fmt.Errorf("put %s: %w", key, err)
	}
	return d.write(ctx, f, key, body)
}

// write makes a PUT, and mends what it can.
func (d *Destination) write(ctx context.Context, f *form, key string, body []byte) (auditdrain.PutResult, error) {
	unconditional := d.unconditional.Load()
	for mended := false; ; mended = true {
		creds, err := d.session.credentials(ctx)
		if err != nil {
			return auditdrain.PutResult{}, d.noSession(err, key)
		}
		put, answer := d.put(ctx, creds, f, key, body, unconditional)
		if put == notImplemented {
			unconditional = true
			put, answer = d.put(ctx, creds, f, key, body, unconditional)
		}
		switch put {
		case written:
			// Only now is it sure that the condition was what the store has
			// not implemented.
			if unconditional {
				d.unconditional.Store(true)
			}
			d.session.permitted(creds)
			return auditdrain.PutResult{Key: key, Unconditional: unconditional}, nil
		case existed:
			d.session.permitted(creds)
			return auditdrain.PutResult{Key: key, Existed: true}, nil
		case sessionRefused:
			d.session.drop(creds)
		case denied:
			if mended || !d.session.doubtful(creds) {
				return auditdrain.PutResult{}, answer
			}
			d.session.drop(creds)
		case clockSkewed:
			d.client.adjustClock(answer)
		default:
			return auditdrain.PutResult{}, answer
		}
		if mended {
			return auditdrain.PutResult{}, answer
		}
	}
}

// outcome is what a PUT came to.
type outcome int

const (
	refused        outcome = iota // see the *Error
	written                       // 2xx
	existed                       // 412 on our condition
	notImplemented                // 501, perhaps because of our condition
	sessionRefused                // a new session may help
	denied                        // the same, but mostly it is for a person to mend
	clockSkewed                   // signing with the server's clock may help
)

// put makes one attempt.
func (d *Destination) put(ctx context.Context, creds aws.Credentials, f *form, key string, body []byte, unconditional bool) (outcome, *Error) {
	r := d.client.requests.Get().(*request)
	defer d.client.requests.Put(r)
	req, err := r.build(f, d.keys, creds, d.client.serverNow(), key, body, unconditional)
	if err != nil {
		return refused, d.noAnswer(key, fmt.Errorf("sign: %w", err))
	}
	got, err := d.client.wire.Put(ctx, d.host, req, d.client.putTimeout)
	switch {
	case err != nil:
		return refused, d.noAnswer(key, err)
	case got.Status/100 == 2:
		return written, nil
	case got.Status == http.StatusPreconditionFailed && !unconditional:
		return existed, nil
	}
	answer := newAnswer("s3", "PutObject", got.Status, got.Header, got.Body, d.client.now(), creds)
	answer.brokeOff(got.Err)
	d.complete(answer, key)
	if got.Status == http.StatusNotImplemented && !unconditional {
		return notImplemented, answer
	}
	switch answer.Answer.Code {
	case "ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "TokenRefreshRequired":
		return sessionRefused, answer
	case "AccessDenied":
		return denied, answer
	case "RequestTimeTooSkewed":
		return clockSkewed, answer
	}
	return refused, answer
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

// noSession is why an object could not even be sent. The error of the call
// to STS may be shared by many writes.
func (d *Destination) noSession(err error, key string) *Error {
	shared, ok := errors.AsType[*Error](err)
	if !ok { // our context has ended while another write made the call
		shared = noAnswer("sts", "AssumeRole", err, d.client.now())
		shared.Answer.RoleARN = d.delivery.RoleARN
	}
	e := *shared
	e.Answer.Key = key
	return &e
}
