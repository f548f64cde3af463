package s3

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditdrain/auditdrain"
)

var benchCreds = aws.Credentials{
	AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: strings.Repeat("t", 700), CanExpire: true, Expires: time.Now().Add(time.Hour),
}

var benchEvent = auditdrain.Event{ID: "uev_1", Timestamp: 1779444000123, Body: make([]byte, 700)}

// BenchmarkPut writes events of 700 bytes to a server that reads them and
// says yes. The server is another process: CPU and allocations are our own.
func BenchmarkPut(b *testing.B) {
	w := &world{url: startNullServer(b)}
	for _, drains := range []int{1, 100} {
		b.Run(fmt.Sprint("drains=", drains), func(b *testing.B) {
			c := w.client(b)
			dests := make([]*Destination, drains)
			for i := range dests {
				dests[i] = mustOpen(b, c)
				dests[i].session = newSession(time.Now, func(context.Context, bool) (aws.Credentials, error) { return benchCreds, nil })
			}
			b.SetParallelism(32)
			b.ReportAllocs()
			cpu := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := dests[i%drains].Put(b.Context(), benchEvent); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRequest is our part of it: key, body, headers and signature.
func BenchmarkRequest(b *testing.B) {
	d := mustOpen(b, (&world{url: "http://127.0.0.1"}).client(b))
	var r request
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.build(d.form, d.keys, benchCreds, time.Now(), d.delivery.ObjectKey(benchEvent, false), d.delivery.ObjectBody(benchEvent), false); err != nil {
			b.Fatal(err)
		}
	}
}

const nullServerEnv = "S3_TEST_NULL_SERVER"

func startNullServer(b *testing.B) (url string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nullServerEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// nullServer serves until stdin ends.
func nullServer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("http://" + l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nx-amz-id-2: 2\r\nx-amz-request-id: 1\r\nDate: Fri, 22 May 2026 10:00:00 GMT\r\n"+
						"ETag: \"0\"\r\nServer: AmazonS3\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}
