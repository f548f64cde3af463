package s3

import (
	"context"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// Test writes e under test/, by the code path of every delivery but with a
// session of its own: a role that was mended or broken a minute ago shows. It
// returns the object's key and how long each call took. Everything that AWS,
// or the way to it, can be blamed for is an *Error.
func (c *Client) Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (key string, steps []auditdrain.TestStep, err error) {
	dest, err := c.Open(d, Options{Test: true})
	if err != nil {
		return "", nil, err
	}
	defer dest.Close()
	// So that a refusal of AssumeRole can name who was refused. If even this
	// fails, AssumeRole says why.
	_, _ = c.CallerARN(ctx)

	step := func(name string, call func() error) error {
		start := c.now()
		err := call()
		steps = append(steps, auditdrain.TestStep{Name: name, OK: err == nil, Duration: max(c.now().Sub(start).Milliseconds(), 1)})
		return err
	}
	if err := step("assumeRole", func() error {
		_, err := dest.session.credentials(ctx)
		return err
	}); err != nil {
		return "", steps, dest.noSession(err, d.Delivery.ObjectKey(e, true))
	}
	err = step("putObject", func() error {
		put, err := dest.Put(ctx, e)
		key = put.Key
		return err
	})
	return key, steps, err
}

// Assume tries whether the drain's role can be assumed with an external ID, ""
// meaning none, and throws the session away. It returns nil if so. Other errors
// than refusals are *Error too.
func (c *Client) Assume(ctx context.Context, d auditdrain.Drain, externalID string) error {
	in := assumeInput(d, probeSession, externalID, probeDuration, denyAll) // should anybody get hold of the session
	_, err := c.assumeRole(ctx, c.caller, c.stsRegion(d.Delivery.Region), in)
	return err
}

const (
	// probeSession is the role session name of calls that try something out,
	// by which they are told apart in CloudTrail.
	probeSession  = "auditdrain-probe"
	probeDuration = 15 * time.Minute // the shortest that AWS has
	denyAll       = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
)

var rehearsalBody = []byte("This object was not meant to be written: auditdrain sent it with a wrong checksum.\n")

// Rehearse returns a function that finds out whether S3 would permit an object
// to be written in the drain's bucket, and writes nothing. It returns nil if
// so. Its delivery is the drain's own or one with other encryption or ACL; its
// session may try all keys of the bucket, not just those under the drain's
// prefix. Errors of AWS are *Error.
//
// S3 decides whether a caller may write before it looks at the object's bytes.
// So a PutObject whose checksums are wrong is answered with 403 if it is not
// permitted, and with 400 BadDigest if it is. A store that looks at neither of
// the two checksums would write the object: a line of text.
func (c *Client) Rehearse(d auditdrain.Drain) (func(ctx context.Context, delivery auditdrain.Delivery, key string) error, error) {
	grant := iam.GrantFor(d.Delivery)
	grant.Prefix, grant.ObjectACL = "", true
	dest, err := c.open(d, probeSession, probeDuration, grant.SessionPolicy(), false)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, delivery auditdrain.Delivery, key string) error {
		creds, err := dest.session.credentials(ctx)
		if err != nil {
			return dest.noSession(err, key)
		}
		form, err := newForm(delivery, dest.host.Name(), dest.base.Path, dest.owner, kind{contentType: delivery.ContentType(), rehearsal: true})
		if err != nil {
			return err
		}
		variation := &Destination{
			client: c, delivery: delivery, base: dest.base, host: dest.host, keys: dest.keys, sessionARN: dest.sessionARN,
		}
		outcome, answer := variation.put(ctx, creds, form, key, rehearsalBody, false)
		if outcome == written || outcome == existed || wrongChecksum[answer.Answer.Code] {
			return nil
		}
		return answer
	}, nil
}

// The digests of no bytes at all, which the body is not.
const (
	wrongSHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	wrongMD5    = "1B2M2Y8AsgTpgAmY7PhCfg=="
)

// wrongChecksum are the codes by which S3 and stores like it refuse bytes that
// they would have taken.
var wrongChecksum = map[string]bool{
	"BadDigest":                   true,
	"InvalidDigest":               true,
	"XAmzContentChecksumMismatch": true,
}

// WriterARN is whom customers' trust policies must name: the configured writer
// role, or the role that we run as. It asks AWS until it has answered once. Its
// errors are *Error.
func (c *Client) WriterARN(ctx context.Context) (string, error) {
	if c.writerRoleARN != "" {
		return c.writerRoleARN, nil
	}
	arn, err := c.CallerARN(ctx)
	return RoleOf(arn), err
}

// KnownWriterARN is WriterARN without a call: "" if AWS has not told yet.
func (c *Client) KnownWriterARN() string {
	if c.writerRoleARN != "" {
		return c.writerRoleARN
	}
	return RoleOf(c.knownCaller())
}
