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
// spends its time on, and the SDK's PutObject costs almost four times as much (see
// docs/design.md).
package s3

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

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

	// maxIdlePerHost is how many connections to one host are kept for reuse.
	// All drains share a host where they are addressed path-style.
	maxIdlePerHost = 1024
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
	namespace     auditdrain.Namespace
	writerRoleARN string // as configured; may be empty
	now           func() time.Time
	region        string // of our own STS calls; may be empty
	sts           *sts.Client
	transport     *http.Transport
	endpoints     awss3.Options
	caller        identity // whom customers' roles trust: the writer role, or what we run as

	// clockOffset is what to add to our clock to get S3's, in nanoseconds.
	clockOffset atomic.Int64

	mu        sync.Mutex
	callerARN string // "" until AWS has told
}

// LoadConfig finds credentials, region and endpoints the way every AWS tool
// does: environment, shared files, container and instance roles.
//
// What the SDK has to say goes to log.
func LoadConfig(ctx context.Context, log *slog.Logger) (aws.Config, error) {
	sdk := logging.LoggerFunc(func(level logging.Classification, format string, args ...any) {
		message := fmt.Sprintf(format, args...)
		if level == logging.Warn {
			log.Warn("AWS SDK: " + message)
		} else {
			log.Debug("AWS SDK: " + message)
		}
	})
	// Without an HTTP client of our own: with one, LoadDefaultConfig refuses
	// AWS_CA_BUNDLE. New takes the one that comes back apart instead.
	cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(sdk))
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
	// Repeating is delivery's business, which knows who waits for what.
	awsCfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	if awsCfg.Region == "" {
		awsCfg.Region = "us-east-1" // replaced by each drain's own, see stsRegion
	}
	c := &Client{
		namespace:     cfg.Namespace,
		writerRoleARN: cfg.WriterRoleARN,
		now:           now,
		region:        cfg.AWS.Region,
		sts:           sts.NewFromConfig(awsCfg),
		transport:     transport,
		endpoints:     awss3.NewFromConfig(awsCfg).Options(),
	}
	c.caller = &chain{cfg.AWS.Credentials}
	if cfg.WriterRoleARN != "" {
		c.caller = c.writerRole(cfg.WriterRoleARN, c.caller)
	}
	return c
}

// Close closes the connections that are not in use. It is for the end of a
// process: the client goes on working.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

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
	t.MaxIdleConns = 0 // bounded per host, and S3 closes them after seconds
	t.MaxIdleConnsPerHost = maxIdlePerHost
	// Delivery bounds what is under way, and each drain's share of it. A
	// bound here would let a bucket that hangs starve others of its host.
	t.MaxConnsPerHost = 0
	t.DisableCompression = true
	// S3 speaks HTTP/1.1 only; saying so saves a negotiation.
	t.ForceAttemptHTTP2 = false
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	t.Protocols = &protocols
	return t
}

// serverNow is the time by S3's clock, as far as it has told us.
func (c *Client) serverNow() time.Time {
	return c.now().Add(time.Duration(c.clockOffset.Load()))
}

// adjustClock takes over the clock of a server that found ours too far off.
func (c *Client) adjustClock(e *Error) {
	if server, ok := serverTime(e); ok {
		c.clockOffset.Store(int64(server.Sub(c.now())))
	}
}
