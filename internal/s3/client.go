// Package s3 writes audit events to customers' S3 buckets, through sessions
// of the customers' own roles. It is the only package that imports the AWS
// SDK, but for KMS's in package signing.
//
// It guarantees that the same event of the same drain is always written as
// the same bytes under the same key, only if nothing is there yet
// (If-None-Match), and only into a bucket of the role's own account; that a
// session can do no more than these writes; and that AWS's answer to a call
// that failed is kept whole, less the secrets that AWS echoes.
//
// STS, credentials and endpoint rules are the SDK's. The PUT itself is ours,
// from its signature to the connection it is sent over (package wire): one
// object per event is what this service spends its time on, and the SDK's
// PutObject costs many times as much (see docs/design.md).
package s3

import (
	"cmp"
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
	"github.com/auditdrain/auditdrain/internal/s3/wire"
)

// Timeouts of one call to AWS, unless configured otherwise. A PUT of at most
// 256 KiB that takes longer is better repeated.
const (
	DefaultPutTimeout = 30 * time.Second
	DefaultSTSTimeout = 15 * time.Second
)

const (
	dialTimeout = 5 * time.Second
	tlsTimeout  = 5 * time.Second
	idleTimeout = 60 * time.Second

	// maxPerHost is more connections than delivery has use for, and fewer than
	// a system has ports for to one address. All drains share a host where
	// they are addressed path-style: a low bound would let those whose buckets
	// hang starve the others.
	maxPerHost = 16_384
	// maxIdlePerHost is how many connections to one host are kept for reuse.
	maxIdlePerHost = 1024
	// maxIdle is how many connections are kept in all, of drains each of which
	// may have a host of its own.
	maxIdle = 4096
)

// Config is what a Client is made of.
type Config struct {
	AWS           aws.Config
	Namespace     auditdrain.Namespace
	WriterRoleARN string           // assumed first, if not empty and not what we run as
	Now           func() time.Time // nil means time.Now

	// PutTimeout bounds one PUT from when it has a connection, or begins to
	// make one; STSTimeout one call to STS. 0 means the defaults.
	PutTimeout time.Duration
	STSTimeout time.Duration
}

// Client opens destinations. It is safe for concurrent use.
type Client struct {
	namespace     auditdrain.Namespace
	writerRoleARN string // as configured; may be empty
	now           func() time.Time
	region        string // of our own STS calls; may be empty
	sts           *sts.Client
	stsTimeout    time.Duration
	transport     *http.Transport // for STS
	wire          *wire.Client    // for S3
	putTimeout    time.Duration
	requests      sync.Pool // of *request
	endpoints     awss3.Options
	caller        identity // whom customers' roles trust: the writer role, or what we run as

	// clockOffset is what to add to our clock to get S3's, in nanoseconds.
	clockOffset atomic.Int64

	mu        sync.Mutex
	callerARN string           // "" until AWS has told
	gates     map[string]*gate // by region of STS
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
		stsTimeout:    cmp.Or(cfg.STSTimeout, DefaultSTSTimeout),
		transport:     transport,
		wire: wire.New(transport, wire.Options{
			MaxPerHost: maxPerHost, MaxIdlePerHost: maxIdlePerHost, MaxIdle: maxIdle,
			IdleTimeout: idleTimeout, TLSTimeout: tlsTimeout, MaxBody: maxAnswer,
		}),
		putTimeout: cmp.Or(cfg.PutTimeout, DefaultPutTimeout),
		requests:   sync.Pool{New: func() any { return &request{} }},
		gates:      map[string]*gate{},
		endpoints:  awss3.NewFromConfig(awsCfg).Options(),
	}
	c.caller = &chain{cfg.AWS.Credentials}
	if cfg.WriterRoleARN != "" {
		c.caller = c.writerRole(cfg.WriterRoleARN, c.caller)
	}
	return c
}

// Close closes the connections that are not in use. It is for the end of a
// process: the client goes on working.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.wire.Close()
}

// newTransport returns the transport of calls to STS. PUTs, too, are made with
// the certificates and proxies that it takes over from client's configuration.
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
	t.IdleConnTimeout = idleTimeout
	t.MaxIdleConns = 0 // bounded per host, and there are few
	t.MaxIdleConnsPerHost = maxIdlePerHost
	t.DisableCompression = true
	// STS speaks HTTP/1.1 only; saying so saves a negotiation.
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
