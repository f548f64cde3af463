package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/auditdrain/auditdrain"
)

const (
	// listsAtOnce is how many folders are listed at the same time.
	listsAtOnce = 16
	// readAttempts is how often a call is made that fails in a way that may pass.
	readAttempts = 10
)

// Reader reads what is below an endpoint, with the caller's own credentials: it
// needs s3:ListBucket and s3:GetObject, and kms:Decrypt where objects are encrypted
// with a customer managed key. It has nothing to do with deliveries. It is safe for
// concurrent use.
//
// Its calls are the SDK's, which repeats those that S3 throttles.
type Reader struct {
	client         *awss3.Client
	bucket, prefix string // the prefix is empty or ends with a slash
}

// Listed is an object that there is.
type Listed struct {
	Key     string    // without the endpoint's prefix
	Written time.Time // by S3's clock
}

// OpenReader returns a Reader of s3://bucket[/prefix]. It asks S3 for the bucket's
// region. connections is how many calls it is made for.
func OpenReader(ctx context.Context, cfg aws.Config, endpoint string, connections int) (*Reader, error) {
	d := auditdrain.Delivery{Endpoint: endpoint}
	bucket, prefix := d.SplitEndpoint()
	if prefix != "" {
		prefix += "/"
	}
	cfg = cfg.Copy()
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = client.WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = connections
		t.MaxIdleConnsPerHost = connections
	})
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = readAttempts
			o.RateLimiter = ratelimit.None // or throttled calls use up what all may repeat
		})
	}
	r := &Reader{bucket: bucket, prefix: prefix}
	r.client = newReadClient(cfg)
	region, err := r.region(ctx)
	if err != nil {
		return nil, fmt.Errorf("find bucket %s: %w", bucket, err)
	}
	if region != "" && region != cfg.Region {
		cfg.Region = region
		r.client = newReadClient(cfg)
	}
	return r, nil
}

func newReadClient(cfg aws.Config) *awss3.Client {
	return awss3.NewFromConfig(cfg, func(o *awss3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // as for deliveries
		// The caller compares the bytes with what it expects.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
}

// region asks for the bucket's region, and returns "" if S3 does not say.
func (r *Reader) region(ctx context.Context) (string, error) {
	out, err := r.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &r.bucket})
	if err == nil {
		return aws.ToString(out.BucketRegion), nil
	}
	// In the wrong region, it says which is the right one.
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region, nil
		}
	}
	return "", err
}

func (r *Reader) String() string { return strings.TrimSuffix("s3://"+r.bucket+"/"+r.prefix, "/") }

// List calls found for each object whose key begins with prefix, which is empty or
// ends with a slash, in no particular order and from many goroutines at once, until
// one returns an error. Folders are listed at the same time: S3 lists 1,000 objects
// a call, and one call after the other.
func (r *Reader) List(ctx context.Context, prefix string, found func(Listed) error) error {
	// The folders of a level, which are few, then those of the next: objects are
	// below schema=, version=, year=, month= and day=.
	folders := []string{r.prefix + prefix}
	for len(folders) > 0 {
		next := make(chan []string, len(folders))
		level, ctx := errgroup.WithContext(ctx)
		level.SetLimit(listsAtOnce)
		for _, folder := range folders {
			level.Go(func() error {
				below, err := r.listFolder(ctx, folder, found)
				next <- below
				return err
			})
		}
		if err := level.Wait(); err != nil {
			return err
		}
		close(next)
		folders = nil
		for below := range next {
			folders = append(folders, below...)
		}
	}
	return nil
}

// listFolder lists the objects of one folder, and returns the folders in it.
func (r *Reader) listFolder(ctx context.Context, folder string, found func(Listed) error) (below []string, err error) {
	pages := awss3.NewListObjectsV2Paginator(r.client, &awss3.ListObjectsV2Input{
		Bucket: &r.bucket, Prefix: &folder, Delimiter: aws.String("/"),
		EncodingType: types.EncodingTypeUrl, // XML cannot say all that a key may be
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			key, err := url.QueryUnescape(aws.ToString(o.Key))
			if err != nil {
				return nil, fmt.Errorf("key %q: %w", aws.ToString(o.Key), err)
			}
			if err := found(Listed{Key: strings.TrimPrefix(key, r.prefix), Written: aws.ToTime(o.LastModified)}); err != nil {
				return nil, err
			}
		}
		for _, p := range page.CommonPrefixes {
			name, err := url.QueryUnescape(aws.ToString(p.Prefix))
			if err != nil {
				return nil, fmt.Errorf("prefix %q: %w", aws.ToString(p.Prefix), err)
			}
			below = append(below, name)
		}
	}
	return below, nil
}

// Get returns an object's bytes, in buf's memory if there is room, and fs.ErrNotExist
// if there is none. Of an object longer than most, it returns more than most bytes,
// not all.
func (r *Reader) Get(ctx context.Context, key string, most int, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for attempt := 1; ; attempt++ {
		out, err := r.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &r.bucket, Key: aws.String(r.prefix + key)})
		var none *types.NoSuchKey
		if errors.As(err, &none) {
			return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		if err != nil {
			return nil, err
		}
		content := bytes.NewBuffer(buf[:0])
		_, err = content.ReadFrom(io.LimitReader(out.Body, int64(most)+1))
		buf = content.Bytes()
		out.Body.Close()
		// The SDK repeats calls, not what is read of their answers.
		if err == nil || ctx.Err() != nil || attempt == readAttempts {
			return buf, err
		}
	}
}
