package versitygw

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// line is what lies between us and the gateway's S3: a proxy that can be made
// to behave as bad networks do.
type line struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &line{t, toxiproxy.NewProxy(server, "s3", "127.0.0.1:0", to)}
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

func (l *line) url() string { return "http://" + l.proxy.Listen }

// spoil makes the line bad, and returns what makes it good again.
func (l *line) spoil(toxic string) (mend func()) {
	l.t.Helper()
	if toxic == "cut" { // what is there is torn down, and nobody answers
		l.proxy.Stop()
		return func() {
			if err := l.proxy.Start(); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	added, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
	if err != nil {
		l.t.Fatal(err)
	}
	return func() {
		if err := l.proxy.Toxics.RemoveToxic(context.Background(), added.Name); err != nil {
			l.t.Fatal(err)
		}
	}
}

// TestToxics delivers over a line that is good at first, then bad in one way,
// and then good again. In the end each event is one object.
func TestToxics(t *testing.T) {
	g := startGateway(t)
	for _, tt := range []struct {
		name  string
		toxic string
		// passes says that events get through while the line is bad; else a PUT
		// that fails is waited for.
		passes bool
		// timeout is that of a PUT, 10 s if 0.
		timeout time.Duration
		// window is how many PUTs are to be under way at once at the least.
		window int64
	}{
		{name: "latency", toxic: `{"type": "latency", "stream": "downstream", "attributes": {"latency": 300, "jitter": 100}}`, passes: true, window: 16},
		{name: "latency-up", toxic: `{"type": "latency", "stream": "upstream", "attributes": {"latency": 300}}`, passes: true, window: 16},
		{name: "bandwidth", toxic: `{"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 4}}`, passes: true},
		{name: "bandwidth-down", toxic: `{"type": "bandwidth", "stream": "downstream", "attributes": {"rate": 1}}`, passes: true},
		{name: "slow-close", toxic: `{"type": "slow_close", "stream": "downstream", "attributes": {"delay": 500}}`, passes: true},
		{name: "slow-close-up", toxic: `{"type": "slow_close", "stream": "upstream", "attributes": {"delay": 500}}`, passes: true},
		{name: "slices", toxic: `{"type": "slicer", "stream": "upstream", "attributes": {"average_size": 11, "size_variation": 5, "delay": 20}}`, passes: true},
		{name: "slices-down", toxic: `{"type": "slicer", "stream": "downstream", "attributes": {"average_size": 2, "size_variation": 1, "delay": 20}}`, passes: true},
		{name: "cut", toxic: "cut"},
		{name: "black-hole", toxic: `{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`, timeout: time.Second},
		{name: "black-hole-down", toxic: `{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`, timeout: time.Second},
		{name: "timeout", toxic: `{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 100}}`},
		{name: "timeout-down", toxic: `{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 100}}`},
		{name: "reset", toxic: `{"type": "reset_peer", "stream": "upstream", "attributes": {"timeout": 0}}`},
		{name: "reset-down", toxic: `{"type": "reset_peer", "stream": "downstream", "attributes": {"timeout": 50}}`},
		{name: "half-a-request", toxic: `{"type": "limit_data", "stream": "upstream", "attributes": {"bytes": 700}}`},
		{name: "half-an-answer", toxic: `{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 50}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := newLine(t, strings.TrimPrefix(g.s3URL, "http://"))
			d := newDrain("s3://" + tt.name + "/audit-logs")
			g.setUp(t, d)
			loop := startLoop(t, g.clientVia(t, line.url(), cmp.Or(tt.timeout, 10*time.Second)), d)

			loop.append(10)
			loop.awaitAll()
			mend := line.spoil(tt.toxic)
			loop.append(40)
			if tt.passes {
				loop.awaitAll()
			} else {
				loop.awaitFailure()
			}
			mend()
			loop.append(10)
			loop.awaitAll()
			loop.stop()
			if diff := gocmp.Diff(loop.want, g.objects(t, tt.name)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if most := loop.most.Load(); most < tt.window {
				t.Errorf("%d PUTs at most were under way at once, want %d or more", most, tt.window)
			}
		})
	}
}
