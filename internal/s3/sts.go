package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// identity is something that calls AWS: what we run as, or a role's session.
type identity interface {
	credentials(ctx context.Context) (aws.Credentials, error)
	// drop says that AWS no longer takes these credentials.
	drop(creds aws.Credentials)
}

// chain is what we run as. The SDK finds its credentials and renews them.
type chain struct{ provider aws.CredentialsProvider }

func (c *chain) credentials(ctx context.Context) (aws.Credentials, error) {
	if c.provider == nil {
		return aws.Credentials{}, errors.New("no AWS credentials are configured")
	}
	return c.provider.Retrieve(ctx)
}

func (c *chain) drop(aws.Credentials) {
	if cache, ok := c.provider.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// writerRole returns a session of the configured writer role, unless own is
// one already: a role need not be allowed to assume itself.
func (c *Client) writerRole(arn string, own identity) *session {
	return newSession(c.serverNow, func(ctx context.Context, _ bool) (aws.Credentials, error) {
		ctx, cancel := context.WithTimeout(ctx, c.stsTimeout)
		defer cancel()
		// Should this fail, AssumeRole says why.
		callerARN, _ := c.getCallerIdentity(ctx, own)
		if sameRole(callerARN, arn) {
			return own.credentials(ctx)
		}
		creds, err := c.assumeRole(ctx, own, c.region, &sts.AssumeRoleInput{
			RoleArn:         aws.String(arn),
			RoleSessionName: aws.String("auditdrain"),
			DurationSeconds: aws.Int32(int32(sessionDuration / time.Second)),
		})
		if e, ok := errors.AsType[*Error](err); ok {
			e.Answer.CallerARN = callerARN
		}
		return creds, err
	})
}

// sameRole reports whether callerARN, as STS tells it, is a session of the
// role. STS leaves out the role's path.
func sameRole(callerARN, roleARN string) bool {
	role, ok := auditdrain.ParseRoleARN(roleARN)
	if !ok {
		return false
	}
	return strings.HasPrefix(callerARN, fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/", role.Partition, role.Account, role.Name))
}

// CallerARN returns who AWS says we are, once it has been asked; this is whom
// customers' trust policies must name. It asks AWS until it has answered
// once. Its errors are *Error.
func (c *Client) CallerARN(ctx context.Context) (string, error) {
	if arn := c.knownCaller(); arn != "" {
		return arn, nil
	}
	arn, err := c.getCallerIdentity(ctx, c.caller)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callerARN = arn
	return arn, nil
}

func (c *Client) knownCaller() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.callerARN
}

// RoleOf turns the ARN of a role's session, as CallerARN tells it, into the
// role's own ARN, which is what a trust policy names. Other ARNs are returned
// as they are. The role's path is not known to STS; a role with a path must
// be configured.
func RoleOf(callerARN string) string {
	parts := strings.SplitN(callerARN, ":", 6)
	if len(parts) != 6 || parts[2] != "sts" {
		return callerARN
	}
	resource := strings.Split(parts[5], "/")
	if len(resource) < 2 || resource[0] != "assumed-role" {
		return callerARN
	}
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", parts[1], parts[4], resource[1])
}

// stsRegion returns the region in which to assume roles for buckets in
// region: our own, where STS is active for our account whatever the customer
// has; its tokens are valid in all regions of the partition. Only without one
// of our own, or across partitions, the bucket's.
func (c *Client) stsRegion(region string) string {
	ours, _ := iam.Partition(c.region)
	theirs, _ := iam.Partition(region)
	if c.region != "" && ours == theirs {
		return c.region
	}
	return region
}

func (c *Client) getCallerIdentity(ctx context.Context, who identity) (arn string, err error) {
	err = c.call(ctx, "GetCallerIdentity", "", who, func(ctx context.Context, opts func(*sts.Options)) error {
		out, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, opts)
		if err != nil {
			return err
		}
		arn = aws.ToString(out.Arn)
		if arn == "" {
			return errors.New("the answer has no ARN in it")
		}
		return nil
	})
	return arn, err
}

// assumeForDelivery assumes a role in a region in its turn among all
// deliveries. Calls that people wait for do not queue behind them.
func (c *Client) assumeForDelivery(ctx context.Context, early bool, region string, in *sts.AssumeRoleInput) (aws.Credentials, error) {
	g := c.gate(region)
	var turn pass
	if early {
		var free bool
		if turn, free = g.tryEnter(); !free {
			return aws.Credentials{}, errNotNow
		}
	} else {
		var err error
		if turn, err = g.enter(ctx); err != nil {
			return aws.Credentials{}, err
		}
	}
	result := unanswered
	defer func() { g.leave(turn, result) }()
	creds, err := c.assumeRole(ctx, c.caller, region, in)
	e, isAnswer := errors.AsType[*Error](err)
	switch {
	case isAnswer && e.Class() == auditdrain.Throttled:
		result = throttled
	case err == nil || isAnswer && e.Answer.HTTPStatus != 0:
		result = answered
	}
	return creds, err
}

// gate is where calls to a region's STS queue: one that hangs, in another
// partition, holds up no other.
func (c *Client) gate(region string) *gate {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.gates[region]
	if g == nil {
		g = newGate()
		c.gates[region] = g
	}
	return g
}

// assumeRole assumes a role in a region, "" meaning our own.
func (c *Client) assumeRole(ctx context.Context, who identity, region string, in *sts.AssumeRoleInput) (creds aws.Credentials, err error) {
	err = c.call(ctx, "AssumeRole", aws.ToString(in.RoleArn), who, func(ctx context.Context, opts func(*sts.Options)) error {
		out, err := c.sts.AssumeRole(ctx, in, opts, func(o *sts.Options) {
			if region != "" {
				o.Region = region
			}
		})
		if err != nil {
			return err
		}
		if out.Credentials == nil || out.Credentials.Expiration == nil {
			return errors.New("the answer has no credentials in it")
		}
		creds = aws.Credentials{
			AccessKeyID:     aws.ToString(out.Credentials.AccessKeyId),
			SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
			SessionToken:    aws.ToString(out.Credentials.SessionToken),
			CanExpire:       true,
			Expires:         *out.Credentials.Expiration,
		}
		if !creds.HasKeys() {
			return errors.New("the answer has no credentials in it")
		}
		return nil
	})
	return creds, err
}

// call makes a call to STS as who, and makes it once more if that mends what
// was wrong: credentials of ours that had expired, or a clock that differs
// from AWS's, which the SDK has taken over from the answer. Its errors are
// *Error.
func (c *Client) call(ctx context.Context, operation, roleARN string, who identity, do func(context.Context, func(*sts.Options)) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.stsTimeout)
	defer cancel()
	for mended := false; ; mended = true {
		creds, err := who.credentials(ctx)
		if e, ok := errors.AsType[*Error](err); ok {
			return e // the writer role's own
		}
		if err != nil {
			e := noAnswer("sts", operation, fmt.Errorf("our own AWS credentials could not be had: %w", err), c.now())
			e.Answer.NoCredentials = ctx.Err() == nil
			e.Answer.RoleARN = roleARN
			return e
		}
		rec := &recorder{transport: c.transport}
		err = do(ctx, func(o *sts.Options) {
			o.HTTPClient = rec
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })
		})
		if err == nil {
			return nil
		}
		e := c.stsError(operation, rec, creds, err)
		e.Answer.RoleARN = roleARN
		if who == c.caller {
			e.Answer.CallerARN = c.knownCaller()
		}
		switch {
		case mended:
			return e
		case ourTokenRefused[e.Answer.Code]:
			who.drop(creds)
		case !clockRefused(e, rec.signedAt):
			return e
		}
	}
}

// ourTokenRefused are the codes by which STS says that the caller's own
// credentials are no good any more: they have expired, or were rotated.
var ourTokenRefused = map[string]bool{"ExpiredToken": true, "ExpiredTokenException": true, "InvalidClientTokenId": true}

// clockRefused reports whether STS has refused a signature because of its
// time. STS's code for that is the one for a wrong signature, so it takes a
// look at the clocks.
func clockRefused(e *Error, signedAt string) bool {
	switch e.Answer.Code {
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
		signed, err := time.Parse("20060102T150405Z", signedAt)
		server, ok := serverTime(e)
		return err == nil && ok && server.Sub(signed).Abs() > tolerableSkew
	}
	return false
}

// tolerableSkew is less than the difference of clocks that AWS refuses (5
// minutes, S3 15), and more than one that says nothing. The SDK has the same.
const tolerableSkew = 4 * time.Minute

// stsError keeps what STS answered.
func (c *Client) stsError(operation string, rec *recorder, creds aws.Credentials, err error) *Error {
	var e *Error
	switch {
	case rec.err != nil && rec.status == 0:
		e = noAnswer("sts", operation, rec.err, c.now())
	case rec.status == 0: // not sent
		e = noAnswer("sts", operation, err, c.now())
	case rec.status/100 == 2:
		// The body is not kept: there may be credentials in it, in a form
		// that we have not understood.
		e = newAnswer("sts", operation, rec.status, rec.header, nil, c.now(), creds)
		e.Answer.Message = "the answer cannot be used: " + clean(err.Error(), creds)
	default:
		e = newAnswer("sts", operation, rec.status, rec.header, rec.body, c.now(), creds)
		e.brokeOff(rec.err)
	}
	e.Answer.Host = rec.host
	return e
}

// recorder is an HTTP client for one call of the SDK that keeps the raw
// answer, of which the SDK's errors drop headers and body. It follows no
// redirects.
type recorder struct {
	transport http.RoundTripper

	host     string
	signedAt string // as AWS writes times
	status   int    // 0: no answer
	header   http.Header
	body     []byte // unless the call succeeded
	err      error  // why there is no answer, or not all of it
}

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.host, r.signedAt = req.URL.Host, req.Header.Get("X-Amz-Date")
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		r.err = err
		return nil, err
	}
	r.status, r.header = resp.StatusCode, resp.Header
	if resp.StatusCode/100 != 2 {
		r.body, r.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	return resp, nil
}
