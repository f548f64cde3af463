// Package s3 writes audit events to customers' S3 buckets, through sessions
// of the customers' own roles. It is the only package that imports the AWS
// SDK.
//
// It guarantees that the same event of the same drain is always written as
// the same bytes under the same key, only if nothing is there yet
// (If-None-Match), and only into a bucket of the role's own account; that a
// session can do no more than these writes; and that AWS's answer to a call
// that failed is kept whole, less the secrets that AWS echoes.
//
// STS, credentials and endpoint rules are the SDK's. The PUT itself is ours,
// signed with the SDK's signer: one object per event is what this service
// spends its time on, and the SDK's PutObject costs three times as much (see
// docs/design.md).
package s3

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain"
)

// Timeouts of one call to AWS. A PUT of at most 256 KiB that takes longer
// than putTimeout is better repeated.
const (
	dialTimeout   = 5 * time.Second
	tlsTimeout    = 5 * time.Second
	headerTimeout = 20 * time.Second
	putTimeout    = 30 * time.Second
	stsTimeout    = 15 * time.Second
	idleTimeout   = 60 * time.Second

	// maxConnsPerHost bounds the connections to one bucket's host.
	maxConnsPerHost = 256
)

// Config is what a Client is made of.
type Config struct {
	AWS           aws.Config
	Namespace     auditdrain.Namespace
	WriterRoleARN string           // assumed first, if not empty and not what we run as
	Now           func() time.Time // nil means time.Now
}

// Client opens destinations. It is safe for concurrent use.
type Client struct {
	namespace auditdrain.Namespace
	now       func() time.Time
	region    string // of our own STS calls; may be empty
	sts       *sts.Client
	signer    *v4.Signer
	transport http.RoundTripper
	endpoints awss3.Options

	// clockOffset is what to add to our clock to get S3's, in nanoseconds.
	clockOffset atomic.Int64

	mu       sync.Mutex
	sessions map[sessionKey]*session
	identity string // ARN of our caller; "" until AWS has told
}

// LoadConfig finds credentials, region and endpoints the way every AWS tool
// does: environment, shared files, container and instance roles.
func LoadConfig(ctx context.Context) (aws.Config, error) {
	// Without an HTTP client of our own: with one, LoadDefaultConfig refuses
	// AWS_CA_BUNDLE. New takes the one that comes back apart instead.
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	return cfg, nil
}

// New returns a Client. It makes no call.
func New(cfg Config) *Client {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	transport := newTransport(cfg.AWS.HTTPClient)
	awsCfg := cfg.AWS.Copy()
	awsCfg.HTTPClient = recorder{&http.Client{Transport: transport}}
	// Repeating is delivery's business, which knows who waits for what.
	awsCfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	if awsCfg.Region == "" {
		awsCfg.Region = "us-east-1" // replaced by each drain's own, see stsRegion
	}
	c := &Client{
		namespace: cfg.Namespace,
		now:       now,
		region:    cfg.AWS.Region,
		sts:       sts.NewFromConfig(awsCfg),
		signer:    v4.NewSigner(),
		transport: transport,
		endpoints: awss3.NewFromConfig(awsCfg).Options(),
		sessions:  make(map[sessionKey]*session),
	}
	if cfg.WriterRoleARN != "" {
		writer := &writerRole{client: c, sts: c.sts, arn: cfg.WriterRoleARN, own: cfg.AWS.Credentials}
		awsCfg.Credentials = aws.NewCredentialsCache(writer,
			func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
		c.sts = sts.NewFromConfig(awsCfg)
	}
	return c
}

// newTransport returns a transport for many small requests to many hosts,
// with the certificates and proxies that client was configured with.
func newTransport(client aws.HTTPClient) *http.Transport {
	buildable, ok := client.(*awshttp.BuildableClient)
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	dialer := buildable.GetDialer()
	dialer.Timeout = dialTimeout
	t := buildable.GetTransport()
	t.DialContext = dialer.DialContext
	t.TLSHandshakeTimeout = tlsTimeout
	t.ResponseHeaderTimeout = headerTimeout
	t.IdleConnTimeout = idleTimeout
	t.MaxIdleConns = 0 // bounded per host
	t.MaxIdleConnsPerHost = maxConnsPerHost
	t.MaxConnsPerHost = maxConnsPerHost
	t.DisableCompression = true
	// S3 speaks HTTP/1.1 only; saying so saves a negotiation.
	t.ForceAttemptHTTP2 = false
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	t.Protocols = &protocols
	return t
}

// writerRole assumes the configured writer role, unless the service already
// runs as that role: a role that may not assume itself need not be changed.
type writerRole struct {
	client *Client
	sts    *sts.Client // with our own credentials
	arn    string
	own    aws.CredentialsProvider
}

func (w *writerRole) Retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	self, err := w.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err == nil && sameRole(aws.ToString(self.Arn), w.arn) {
		return w.own.Retrieve(ctx)
	}
	return w.client.assume(ctx, w.sts, &sts.AssumeRoleInput{
		RoleArn:         aws.String(w.arn),
		RoleSessionName: aws.String("auditdrain"),
		DurationSeconds: aws.Int32(int32(sessionDuration / time.Second)),
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
// customers' trust policies must name. It asks AWS at most once successfully.
func (c *Client) CallerARN(ctx context.Context) (string, error) {
	c.mu.Lock()
	identity := c.identity
	c.mu.Unlock()
	if identity != "" {
		return identity, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	ctx, rec := record(ctx)
	out, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", c.stsError("GetCallerIdentity", rec, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identity = aws.ToString(out.Arn)
	return c.identity, nil
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
