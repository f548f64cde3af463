package main

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
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// Credentials that the null S3 hands out, and that the loops use, since a
// token's length costs hashing. Real tokens have some hundred characters.
const (
	accessKeyID     = "ASIANULLS30000000000"
	secretAccessKey = "nullS3nullS3nullS3nullS3nullS3nullS3null"
)

var sessionToken = strings.Repeat("IQoJb3JpZ2luX2VjEFoaCXVzLWVhc3QtMSJH", 14)

// object is what one PUT writes.
type object struct {
	bucket, key string
	body        []byte
}

// putOptions are what the two loops are started with.
type putOptions struct {
	Endpoint    string
	Events      int
	Concurrency int
	Rate        float64       // PUTs per second on a fixed schedule; 0: as fast as the answers come
	Log         string        // file for when each PUT was sent and answered, or ""
	Patience    time.Duration // with one answer
}

// warmUpPuts open the connections and fill the caches of the two loops. The
// service gets one event per drain for that.
const warmUpPuts = 1000

// runPutBare is the least that one PUT can cost over net/http: a request put
// together by hand, signed, and sent over connections that are kept.
func runPutBare(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	return runPut(ctx, args, stdin, stdout, newBarePutter)
}

// runPutSDK does the same with the SDK's client.
func runPutSDK(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	return runPut(ctx, args, stdin, stdout, newSDKPutter)
}

// putter writes objects and is safe for concurrent use.
type putter func(ctx context.Context, o object) error

func runPut(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer, newPutter func(endpoint string, rt http.RoundTripper) (putter, error)) error {
	var o putOptions
	if err := argument(args, &o); err != nil {
		return err
	}
	put, err := newPutter(o.Endpoint, &http.Transport{
		MaxIdleConnsPerHost: o.Concurrency, DisableCompression: true, ResponseHeaderTimeout: o.Patience,
	})
	if err != nil {
		return err
	}
	objects := newObjectMaker()
	warm, work := putLoop{o, put, objects, 0}, putLoop{o, put, objects, warmUpPuts}
	warm.Events, warm.Rate, warm.Log = warmUpPuts, 0, ""
	return produce(stdin, stdout,
		func() (producerReport, error) { return warm.run(ctx) },
		func() (producerReport, error) { return work.run(ctx) })
}

// putLoop puts Events objects, Concurrency of them at a time.
type putLoop struct {
	putOptions
	put     putter
	objects *objectMaker
	first   int // number of the first object
}

func (l putLoop) run(ctx context.Context) (producerReport, error) {
	var next atomic.Int64
	report := producerReport{Events: l.Events, Start: time.Now()}
	logs := make([][]posting, l.Concurrency)
	g, ctx := errgroup.WithContext(ctx)
	for c := range l.Concurrency {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= l.Events {
					return nil
				}
				if l.Rate > 0 {
					if err := sleep(ctx, time.Until(due(report.Start, i, l.Rate))); err != nil {
						return err
					}
				}
				var sent time.Time
				if l.Log != "" {
					sent = time.Now()
				}
				if err := l.put(ctx, l.objects.object(l.first+i)); err != nil {
					return err
				}
				if l.Log != "" {
					logs[c] = append(logs[c], posting{Sent: sent.UnixNano(), Acked: time.Now().UnixNano()})
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	report.End = time.Now()
	if l.Log == "" {
		return report, nil
	}
	return report, writeLog(l.Log, slices.Concat(logs...))
}

// bareDrains are how many destinations the loops' objects have.
const bareDrains = 100

// objectMaker makes objects as the service would write them: a thousand
// different bodies, and a key of its own for each.
type objectMaker struct {
	events     []auditdrain.Event
	deliveries []auditdrain.Delivery
	bodies     [][]byte
}

func newObjectMaker() *objectMaker {
	m := new(objectMaker)
	for i := range bareDrains {
		m.deliveries = append(m.deliveries, deliveryOf(i))
	}
	events := newEventMaker(1)
	for i := range 1000 {
		e := events.event(teamID(i % bareDrains))
		m.events = append(m.events, e)
		m.bodies = append(m.bodies, m.deliveries[i%bareDrains].ObjectBody(e))
	}
	return m
}

func (m *objectMaker) object(i int) object {
	e, d := m.events[i%len(m.events)], m.deliveries[i%bareDrains]
	e.Timestamp += int64(i)
	bucket, _ := d.SplitEndpoint()
	return object{bucket: bucket, key: d.ObjectKey(e, false), body: m.bodies[i%len(m.bodies)]}
}

// newBarePutter returns a putter of hand-made requests, with the headers that
// the service sends.
func newBarePutter(endpoint string, rt http.RoundTripper) (putter, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	// S3's canonical path is encoded once, and that is done below.
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	creds := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey, SessionToken: sessionToken}

	return func(ctx context.Context, o object) error {
		path := "/" + o.bucket + "/" + o.key
		sum := sha256.Sum256(o.body)
		payloadHash := hex.EncodeToString(sum[:])
		body := bytes.NewReader(o.body)
		req := (&http.Request{
			Method: http.MethodPut,
			URL:    &url.URL{Scheme: base.Scheme, Host: base.Host, Path: path, RawPath: strings.ReplaceAll(path, "=", "%3D")},
			Host:   base.Host,
			Header: http.Header{
				"Content-Type":                {"application/x-ndjson"},
				"If-None-Match":               {"*"},
				"X-Amz-Checksum-Sha256":       {base64.StdEncoding.EncodeToString(sum[:])},
				"X-Amz-Content-Sha256":        {payloadHash},
				"X-Amz-Expected-Bucket-Owner": {account},
			},
			ContentLength: int64(len(o.body)),
			Body:          io.NopCloser(body),
			GetBody: func() (io.ReadCloser, error) {
				body.Reset(o.body)
				return io.NopCloser(body), nil
			},
		}).WithContext(ctx)
		if err := signer.SignHTTP(ctx, creds, req, payloadHash, "s3", region, time.Now()); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("PUT %s: %s", path, resp.Status)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}, nil
}

// newSDKPutter returns a putter that uses the SDK the way its documentation
// does. Its own choice of a checksum (CRC32) is left to it: asking for
// SHA-256 would cost it more.
func newSDKPutter(endpoint string, rt http.RoundTripper) (putter, error) {
	client := s3.New(s3.Options{
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(accessKeyID, secretAccessKey, sessionToken),
		BaseEndpoint: aws.String(endpoint),
		UsePathStyle: true,
		HTTPClient:   &http.Client{Transport: rt},
	})
	return func(ctx context.Context, o object) error {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{
			Bucket:              aws.String(o.bucket),
			Key:                 aws.String(o.key),
			Body:                bytes.NewReader(o.body),
			ContentType:         aws.String("application/x-ndjson"),
			IfNoneMatch:         aws.String("*"),
			ExpectedBucketOwner: aws.String(account),
		})
		return err
	}, nil
}
