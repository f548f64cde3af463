package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/cobra"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/client"
	"github.com/auditdrain/auditdrain/internal/manifest"
	"github.com/auditdrain/auditdrain/internal/s3"
	"github.com/auditdrain/auditdrain/internal/verify"
)

// demoSettings are what demo can be told.
type demoSettings struct {
	dir      string
	rate     float64
	events   int
	duration time.Duration
	listen   string
}

func newDemoCommand() *cobra.Command {
	var set demoSettings
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the service with a simulated AWS and a producer, and check the result",
		Long: `Run everything on this machine, without any account: AWS on loopback, the
service as serve runs it, a team with an enabled S3 drain, and a producer.

Objects are plain files under DIR/s3. At the end (Ctrl-C, --events or
--duration) demo delivers what was accepted, compares the objects with the
acknowledged events, verifies them by the drain's signed manifests, and exits
with 0 only if all is there and the same.
Run it again with the same --dir to go on.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if set.rate <= 0 || set.rate > 100_000 {
				return usagef("--rate: %v is not allowed: use more than 0 and at most 100000 events a second", set.rate)
			}
			if set.events < 0 {
				return usagef("--events: %d is not allowed: use 0 (no limit) or more", set.events)
			}
			if set.duration < 0 {
				return usagef("--duration: %s is not allowed: use 0s (until Ctrl-C) or more", set.duration)
			}
			return demo(cmd.Context(), set, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&set.dir, "dir", "./auditdrain-demo", "`folder` for everything that is written")
	f.Float64Var(&set.rate, "rate", 20, "`events` a second that the producer sends")
	f.IntVar(&set.events, "events", 0, "stop after `N` events; 0: no limit")
	f.DurationVar(&set.duration, "duration", 0, "stop after this long; 0: at Ctrl-C")
	f.StringVar(&set.listen, "listen", "127.0.0.1:8080", "`address` of the service")
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

// drainTime is how long the end of a demo waits for the backlog.
const drainTime = 2 * time.Minute

// demo runs until ctx ends or its limits are reached. The error is nil only
// if the bucket holds exactly the acknowledged events.
func demo(ctx context.Context, set demoSettings, out, errOut io.Writer) error {
	if err := os.MkdirAll(set.dir, 0o755); err != nil {
		return err
	}
	sim, err := newDemoAWS(filepath.Join(set.dir, "s3"))
	if err != nil {
		return err
	}
	awsListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for AWS: %w", err)
	}
	aws := start(ctx, func(ctx context.Context) error { return sim.Serve(ctx, awsListener) })
	defer aws.stop()
	useDemoAWS("http://" + awsListener.Addr().String())

	// The same as `auditdrain serve`, down to the environment. Its end is
	// ours to choose: after Ctrl-C it still has to deliver.
	started := make(chan *instance, 1)
	service := start(ctx, func(ctx context.Context) error {
		return serve(ctx, settings{
			listen:          set.listen,
			data:            filepath.Join(set.dir, "data"),
			namespace:       string(auditdrain.DefaultNamespace),
			writerRoleARN:   demoWriterRole,
			unsafeRoles:     "warn",
			retain:          168 * time.Hour,
			putTimeout:      s3.DefaultPutTimeout,
			stsTimeout:      s3.DefaultSTSTimeout,
			shutdownTimeout: 30 * time.Second,
		}, slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn})), func(in *instance) { started <- in })
	})
	defer service.stop()
	var in *instance
	select {
	case in = <-started:
	case <-service.done:
		return service.err
	}

	p, err := newDemoProducer(ctx, in.url, set)
	if err != nil {
		return err
	}
	defer p.ledger.close()
	introduce(out, in.url, set)
	if err := p.run(ctx, newLiveLine(out, in, p)); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nThe producer has stopped; delivering what was accepted …")
	if err := p.awaitDelivery(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := p.closeAccount(context.WithoutCancel(ctx), in.url); err != nil {
		return err
	}
	service.stop()
	if service.err != nil {
		return service.err
	}
	if err := p.ledger.addStored(context.WithoutCancel(ctx), filepath.Join(set.dir, "data")); err != nil {
		return err
	}
	err = verdict(out, sim, p.ledger)
	return errors.Join(err, p.prove(context.WithoutCancel(ctx), out))
}

func introduce(out io.Writer, url string, set demoSettings) {
	token := filepath.Join(set.dir, "data", "operator-token")
	if os.Getenv("AUDITDRAIN_OPERATOR_TOKEN") != "" {
		token = "(the one in AUDITDRAIN_OPERATOR_TOKEN)"
	}
	fmt.Fprintf(out, `auditdrain demo
  service   %s   (API: %[1]s/openapi.json, metrics: %[1]s/metrics)
  log in    with the operator token in %s
  drain     of team %s: %s, ndjson
  objects   %s
  try       export AUDITDRAIN_URL=%[1]s AUDITDRAIN_TOKEN=$(cat %[2]s)
            %[6]s drain list --team %[3]s
            find %[5]s -name '*.jsonl' | tail -1 | xargs cat
Ctrl-C ends the producer, delivers the rest, compares and verifies.

`, url, token, demoTeam, demoEndpoint, filepath.Join(set.dir, "s3", demoBucket), ownCommand())
}

// ownCommand is how this program was probably started.
func ownCommand() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/auditdrain"
	}
	return os.Args[0]
}

// demoProducer posts events as a platform would.
type demoProducer struct {
	set     demoSettings
	client  *client.Client
	drainID string
	ledger  *demoLedger
	source  *demoEvents
	sent    int
}

// newDemoProducer sets the team, its drain and a producer's token up, if an
// earlier demo has not.
func newDemoProducer(ctx context.Context, url string, set demoSettings) (*demoProducer, error) {
	operator := os.Getenv("AUDITDRAIN_OPERATOR_TOKEN")
	if operator == "" {
		content, err := os.ReadFile(filepath.Join(set.dir, "data", "operator-token"))
		if err != nil {
			return nil, fmt.Errorf("read operator token: %w", err)
		}
		operator = strings.TrimSpace(string(content))
	}
	c, err := client.New(url, operator)
	if err != nil {
		return nil, err
	}
	_, err = c.CreateTeam(ctx, auditdrain.TeamInput{ID: demoTeam, Slug: "acme", Name: "Acme Inc."})
	if err != nil && auditdrain.ErrorCode(err) != auditdrain.CodeConflict {
		return nil, fmt.Errorf("create team: %w", err)
	}
	drains, err := c.ListDrains(ctx, demoTeam)
	if err != nil {
		return nil, fmt.Errorf("list drains: %w", err)
	}
	p := &demoProducer{set: set, client: c, source: newDemoEvents()}
	if len(drains) > 0 {
		// An earlier demo has paused it at its end.
		enabled, integrity := auditdrain.StatusEnabled, true
		patch := auditdrain.DrainPatch{Status: &enabled, Delivery: &auditdrain.DeliveryPatch{Integrity: &integrity}}
		if _, err := c.UpdateDrain(ctx, demoTeam, drains[0].ID, patch); err != nil {
			return nil, fmt.Errorf("resume drain: %w", err)
		}
	} else {
		d, err := c.CreateDrain(ctx, demoTeam, auditdrain.DrainInput{
			Name:    "Security archive",
			Schemas: auditdrain.AuditLogSchemas(),
			Delivery: &auditdrain.Delivery{
				Type:      "s3",
				Endpoint:  demoEndpoint,
				Encoding:  "ndjson",
				RoleARN:   demoCustomerRole,
				Region:    demoRegion,
				Integrity: true,
			},
		})
		if err != nil {
			return nil, fmt.Errorf("create drain: %w", err)
		}
		drains = append(drains, d)
	}
	p.drainID = drains[0].ID
	if p.ledger, err = openDemoLedger(set.dir); err != nil {
		return nil, err
	}
	return p, nil
}

// run sends events until ctx ends or a limit is reached, and draws the line
// after each batch.
func (p *demoProducer) run(ctx context.Context, line *liveLine) error {
	if p.set.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.set.duration)
		defer cancel()
	}
	if unsent := p.ledger.unacknowledged(); unsent != nil {
		if err := p.send(ctx, unsent); err != nil {
			return err
		}
	}
	const tick = 50 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	begin, due := time.Now(), 0
	for p.set.events == 0 || p.sent < p.set.events {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// By the clock, so that slow calls are made up for.
		due = int(time.Since(begin).Seconds() * p.set.rate)
		n := min(due-p.sent, auditdrain.MaxBatchEvents)
		if p.set.events > 0 {
			n = min(n, p.set.events-p.sent)
		}
		if n > 0 {
			batch, err := p.source.batch(n, time.Now())
			if err != nil {
				return err
			}
			if err := p.ledger.intend(batch); err != nil {
				return err
			}
			if err := p.send(ctx, batch); err != nil {
				return err
			}
			p.sent += n
		}
		line.draw(ctx)
	}
	line.drawNow(ctx)
	return nil
}

// send posts a batch that the ledger knows of until it is acknowledged: not
// even Ctrl-C leaves the outcome open.
func (p *demoProducer) send(ctx context.Context, batch [][]byte) error {
	body := bytes.Join(batch, []byte("\n"))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if _, err := p.client.SendEvents(ctx, demoTeam, body); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	return p.ledger.acknowledge(batch)
}

// awaitDelivery returns when the drain has no backlog.
func (p *demoProducer) awaitDelivery(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for {
		d, err := p.client.GetDrain(ctx, demoTeam, p.drainID)
		if err != nil {
			return fmt.Errorf("look at the drain: %w", err)
		}
		if d.Metadata != nil && d.Metadata.BacklogEvents == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("events are still undelivered after %s: %s", drainTime, d.LastError)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// closeAccount has the last manifest written, by pausing the drain, and keeps the
// public keys beside the objects.
func (p *demoProducer) closeAccount(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	disabled := auditdrain.StatusDisabled
	if _, err := p.client.UpdateDrain(ctx, demoTeam, p.drainID, auditdrain.DrainPatch{Status: &disabled}); err != nil {
		return fmt.Errorf("pause drain: %w", err)
	}
	for {
		i, err := p.client.Integrity(ctx, demoTeam, p.drainID)
		if err != nil {
			return fmt.Errorf("look at the manifests: %w", err)
		}
		if i.Waiting == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the last manifest is still not written after %s: %s", drainTime, i.LastError)
		case <-time.After(50 * time.Millisecond):
		}
	}
	keys, err := fetch(ctx, url+"/.well-known/jwks.json")
	if err != nil {
		return err
	}
	return os.WriteFile(p.keys(), keys, 0o644)
}

func (p *demoProducer) keys() string { return filepath.Join(p.set.dir, "jwks.json") }

// prove verifies the objects by the manifests, as an auditor would.
func (p *demoProducer) prove(ctx context.Context, out io.Writer) error {
	content, err := os.ReadFile(p.keys())
	if err != nil {
		return err
	}
	keys, err := manifest.ParseKeys(content)
	if err != nil {
		return err
	}
	objects := filepath.Join(p.set.dir, "s3", strings.TrimPrefix(demoEndpoint, "s3://"))
	report, err := verify.Run(ctx, verify.Options{
		Places: []verify.Place{verify.Dir{Path: objects}}, Keys: keys, Drains: []string{p.drainID}, Grace: time.Hour, Concurrency: runtime.GOMAXPROCS(0),
	})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !report.Verified {
		return errors.New("NOT PROVED: " + report.Summary())
	}
	fmt.Fprintf(out, "PROVED: %s, by %s. Do it yourself:\n  %s verify %s --key %s --drain %s\n",
		plural(report.Read, "object"), plural(report.Chains[0].Last, "signed manifest"), ownCommand(), objects, p.keys(), p.drainID)
	return nil
}

// liveLine shows how it goes: in place on a terminal, else a line now and then.
type liveLine struct {
	out   io.Writer
	in    *instance
	p     *demoProducer
	every time.Duration
	end   string
	drawn time.Time
}

func newLiveLine(out io.Writer, in *instance, p *demoProducer) *liveLine {
	if isTerminal(out) {
		return &liveLine{out: out, in: in, p: p, every: 200 * time.Millisecond, end: "\x1b[K\r"}
	}
	return &liveLine{out: out, in: in, p: p, every: 5 * time.Second, end: "\n", drawn: time.Now()}
}

func (l *liveLine) draw(ctx context.Context) {
	if time.Since(l.drawn) >= l.every {
		l.drawNow(ctx)
	}
}

func (l *liveLine) drawNow(ctx context.Context) {
	l.drawn = time.Now()
	d, err := l.p.client.GetDrain(ctx, demoTeam, l.p.drainID)
	accepted, _, seqErr := l.in.engine.store.Last(ctx, demoTeam)
	if err != nil || seqErr != nil || d.Metadata == nil {
		return // the next one may work; sending reports what does not
	}
	latency := "no delivery yet"
	if h, err := deliveryLatency(l.in); err == nil && h.GetSampleCount() > 0 {
		latency = fmt.Sprintf("p50 %s, p99 %s", quantile(h, 0.5), quantile(h, 0.99))
	}
	backlog := min(d.Metadata.BacklogEvents, accepted)
	fmt.Fprintf(l.out, "accepted %d   delivered %d   backlog %d   latency %s%s", accepted, accepted-backlog, backlog, latency, l.end)
}

func deliveryLatency(in *instance) (*dto.Histogram, error) {
	families, err := in.registry.Gather()
	if err != nil {
		return nil, err
	}
	for _, f := range families {
		if f.GetName() == "auditdrain_delivery_latency_seconds" {
			return f.GetMetric()[0].GetHistogram(), nil
		}
	}
	return nil, errors.New("no delivery latency is measured")
}

// quantile is the upper bound of the bucket that holds the quantile.
func quantile(h *dto.Histogram, q float64) string {
	want := q * float64(h.GetSampleCount())
	for _, b := range h.GetBucket() {
		if float64(b.GetCumulativeCount()) >= want {
			d := time.Duration(b.GetUpperBound() * float64(time.Second))
			return "≤ " + d.Round(100*time.Microsecond).String()
		}
	}
	return "over a day"
}
