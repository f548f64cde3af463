package versitygw

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/iamapi"
	"github.com/versity/versitygw/iamapi/private"
	"github.com/versity/versitygw/iamapi/storage"
	"github.com/versity/versitygw/s3api"
)

const (
	// account is the one that versitygw has. Its buckets belong to whoever's
	// access key is root's, and x-amz-expected-bucket-owner names an access
	// key there: so root's is the account's ID.
	account    = "000000000000"
	rootSecret = "root-secret"
	region     = "eu-west-1"
)

// gateway is versitygw in this process, with a simulated STS before it.
type gateway struct {
	s3URL string
	sts   *tokenService
	admin *awss3.Client // may do anything in all buckets
}

// startGateway starts one. Only one at a time can run in a process, which has
// the gateway's root directory as its working directory meanwhile.
func startGateway(t *testing.T) *gateway {
	t.Helper()
	t.Chdir(".") // so that it is as it was afterwards
	store, err := storage.New(storage.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// The name of a socket must be short, which t.TempDir need not be.
	sockets, err := os.MkdirTemp("", "vgw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	iamSocket, s3Socket := filepath.Join(sockets, "iam"), filepath.Join(sockets, "s3")
	serveIAM(t, store, iamSocket)
	serveS3(t, iamSocket, s3Socket)

	g := &gateway{s3URL: "http://" + forward(t, s3Socket), sts: newTokenService(t, store)}
	g.admin = awss3.New(awss3.Options{
		BaseEndpoint: &g.s3URL, Region: region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(account, rootSecret, ""),
	})
	return g
}

// serveIAM serves what versitygw asks: who somebody is, and what their
// policies say.
func serveIAM(t *testing.T, store storage.Storer, socket string) {
	t.Helper()
	api, err := private.New(store, iamapi.RootCredentials{Access: account, Secret: rootSecret}, private.WithPrivateQuiet())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- api.ServeMultiPort([]string{socket}, noTLS(api.ServeMultiPort)) }()
	t.Cleanup(func() {
		if err := api.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done // with the error that its listener is closed
	})
	// It does not say when it listens.
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// noTLS returns the options of a listener without TLS, whose type only
// versitygw can name.
func noTLS[T any](func([]string, T) error) (none T) { return }

func serveS3(t *testing.T, iamSocket, socket string) {
	t.Helper()
	root := auth.Account{Access: account, Secret: rootSecret, Role: auth.RoleAdmin}
	iam, err := auth.NewIAMServiceStandalone(root, auth.IAMServiceStandaloneConfig{Endpoint: iamSocket, Region: region})
	if err != nil {
		t.Fatal(err)
	}
	// Metadata beside the objects, not in extended attributes: not every file
	// system that tests run on has those.
	metaDir := t.TempDir()
	sidecar, err := meta.NewSideCar(metaDir)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := posix.New(t.TempDir(), sidecar, posix.PosixOpts{SideCarDir: metaDir, ForceNoTmpFile: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: account, RootUserSecret: rootSecret, Region: region, Ports: []string{socket},
			MaxConnections: 1024, MaxRequests: 1024, MultipartMaxParts: 1, KeepAlive: true, Quiet: true, IAMService: iam,
			S3Options: []s3api.Option{s3api.WithOnListen(func() { close(listening) })},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-listening:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
}

// forward passes on what arrives at the address that it returns, byte for
// byte: versitygw does not tell a port that it was given by the kernel.
func forward(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		cancel()
		conns.Wait()
	})
	pass := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("unix", socket)
		if err != nil {
			return // the client sees a closed connection
		}
		defer server.Close()
		defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
		conns.Go(func() {
			_, _ = io.Copy(server, client) // ends when either is closed
			server.(*net.UnixConn).CloseWrite()
		})
		_, _ = io.Copy(client, server)
	}
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { pass(client) })
		}
	})
	return l.Addr().String()
}

// addBucket makes a bucket of the gateway's account.
func (g *gateway) addBucket(t *testing.T, name string) {
	t.Helper()
	if _, err := g.admin.CreateBucket(t.Context(), &awss3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: region},
	}); err != nil {
		t.Fatal(err)
	}
}

// objects returns all of a bucket, read back.
func (g *gateway) objects(t *testing.T, bucket string) map[string]string {
	t.Helper()
	all := map[string]string{}
	pages := awss3.NewListObjectsV2Paginator(g.admin, &awss3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got, err := g.admin.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: o.Key})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(got.Body)
			got.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			all[*o.Key] = string(body)
		}
	}
	return all
}

var quiet = slog.New(slog.DiscardHandler)
