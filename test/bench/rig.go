package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// rig is one run: a null S3, mostly a service beside it, on a folder of its own
// or as nodes on one database, and who gives them work, all of them fresh
// processes.
type rig struct {
	*bench
	dir      string // gone after the run
	null     *child
	endpoint string // of the null S3

	services []*child      // none, one, or several nodes
	addrs    []string      // of each
	startUp  time.Duration // until the service was ready
	database *database     // that the nodes share, or nil
}

// withRig starts a null S3, lets f make its run, and leaves nothing behind.
func (b *bench) withRig(ctx context.Context, o nullOptions, f func(*rig) error) error {
	r := &rig{bench: b}
	var err error
	if r.dir, err = os.MkdirTemp(b.dir, "run-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if r.null, err = r.start(ctx, "null-s3", o); err != nil {
		return err
	}
	defer r.null.kill()
	if r.endpoint, err = r.null.line(); err != nil {
		return err
	}
	defer r.killServices()
	if err := f(r); err != nil {
		r.killServices()
		for _, s := range r.services {
			err = fmt.Errorf("%w\n%s", err, s.stderr)
		}
		return err
	}
	if err := r.stopServices(ctx); err != nil {
		return err
	}
	return r.null.stop(false)
}

// start starts this binary as one of its children, with its options.
func (b *bench) start(ctx context.Context, name string, options any) (*child, error) {
	arg, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	return startChild(ctx, name, b.self, []string{name, string(arg)}, cleanEnv())
}

// serve starts auditdrain on a folder as an operator would, and waits until it
// is ready.
func (r *rig) serve(ctx context.Context, data string, flags ...string) error {
	began := time.Now()
	if err := r.startService(ctx, append([]string{"--data", data}, flags...)...); err != nil {
		return err
	}
	err := r.ready(ctx)
	r.startUp = time.Since(began)
	return err
}

// startService starts one more auditdrain.
func (r *rig) startService(ctx context.Context, flags ...string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	service, err := startChild(ctx, "auditdrain serve", r.auditdrain,
		append([]string{"serve", "--listen", addr}, flags...),
		cleanEnv(
			"AWS_ENDPOINT_URL_S3="+r.endpoint,
			"AWS_ENDPOINT_URL_STS="+r.endpoint,
			"AWS_ACCESS_KEY_ID="+accessKeyID,
			"AWS_SECRET_ACCESS_KEY="+secretAccessKey,
			"AWS_REGION="+region,
			"AUDITDRAIN_OPERATOR_TOKEN="+r.token,
		))
	if err != nil {
		return err
	}
	r.services, r.addrs = append(r.services, service), append(r.addrs, addr)
	return nil
}

// ready waits until all services are.
func (r *rig) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.stall)
	defer cancel()
	for _, addr := range r.addrs {
		for {
			_, err := get(ctx, "http://"+addr+"/readyz")
			if err == nil {
				break
			}
			if sleep(ctx, 2*time.Millisecond) != nil {
				return fmt.Errorf("the service did not become ready: %w", err)
			}
		}
	}
	return nil
}

// stopServices ends the services as an operator would, one after the other. The
// null S3 lets go of what it has made wait: a service would give that a part of
// the time that it has for its shutdown.
func (r *rig) stopServices(ctx context.Context) error {
	if len(r.services) == 0 {
		return nil
	}
	if _, err := get(ctx, r.endpoint+"/_release"); err != nil {
		return err
	}
	for len(r.services) > 0 {
		service := r.services[0]
		r.services = r.services[1:]
		if err := service.stop(true); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) killServices() {
	for _, s := range r.services {
		s.kill()
	}
}

// servicesUsage is what all services have used.
func (r *rig) servicesUsage() (sum usage, err error) {
	for _, s := range r.services {
		u, err := usageOf(s.pid())
		if err != nil {
			return sum, err
		}
		sum = sum.plus(u)
	}
	return sum, nil
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// post is what a poster for r's service is started with, as far as all runs
// have it in common. No two have the same events.
func (r *rig) post(o postOptions) postOptions {
	r.posters++
	o.Addrs, o.Token, o.Patience, o.Seed = r.addrs, r.token, r.stall, r.posters
	return o
}

// result is what one run has taken. Elapsed goes from the start of the first
// request of the loop or the poster to the answer to the last PUT, or to the
// last acknowledgement where nothing is delivered.
type result struct {
	events  int
	bytes   int64 // of the objects
	elapsed time.Duration
	client  usage // of the loop, or of the service, all nodes of it: what is measured
	null    usage // of the null S3 beside it
	poster  usage // of the process that posts the events; zero in the loops
	refused int   // calls that the service put off with 503
	// database and statements are the database's, where there is one.
	database   time.Duration // CPU
	statements statements
	// others is the share of the machine's CPU time that went to processes
	// which are not the bench's.
	others float64
}

func (r result) rate() float64 { return float64(r.events) / r.elapsed.Seconds() }

// perEvent is cpu in µs per event.
func (r result) perEvent(cpu time.Duration) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(r.events)
}

// task is what a producer does in a run.
type task struct {
	producer string // its name as a child
	options  any
	// undelivered says that events become no objects.
	undelivered bool
	// beside, if it is not nil, is called when the work begins and has to
	// return soon after it has ended; then is called after that, before the
	// service is stopped.
	beside, then func(context.Context) error
	// finish, if it is not nil, is called when all is delivered, and returns when
	// the run has ended. What is used until then is part of what is measured.
	finish func(context.Context) (time.Time, error)
}

// run makes a producer work and measures what that takes. Then it stops the
// producer and the service, and checks that there is one PUT for each
// acknowledged event, as many in each team's bucket as it has events.
func (r *rig) run(ctx context.Context, t task) (result, error) {
	producer, err := r.start(ctx, t.producer, t.options)
	if err != nil {
		return result{}, err
	}
	defer producer.kill()
	res, acked, err := r.watch(ctx, producer, t)
	if err != nil {
		return result{}, fmt.Errorf("%w\n%s", err, producer.stderr)
	}

	if t.then != nil {
		if err := t.then(ctx); err != nil {
			return result{}, err
		}
	}
	// Stop in order, then look again: a service that stops may still have
	// written something that it had written before.
	if err := producer.stop(false); err != nil {
		return result{}, err
	}
	if err := r.stopServices(ctx); err != nil {
		return result{}, err
	}
	if t.undelivered {
		acked = 0
	}
	stats, err := r.stats(ctx)
	if err != nil {
		return result{}, err
	}
	if stats.Puts != int64(acked) {
		return result{}, fmt.Errorf("%d PUTs for %d acknowledged events", stats.Puts, acked)
	}
	if o, ok := t.options.(postOptions); ok && !t.undelivered {
		return res, r.checkBuckets(ctx, o)
	}
	return res, nil
}

// checkBuckets fails unless every team's bucket has got all of its events.
func (r *rig) checkBuckets(ctx context.Context, o postOptions) error {
	var counts []int
	if err := getJSON(ctx, r.endpoint+"/_buckets", &counts); err != nil {
		return err
	}
	want := make([]int, o.First+o.Teams)
	for i := range o.Teams {
		want[o.First+i] = o.Warm
	}
	for i := 0; i*o.Batch < o.Events; i++ {
		want[o.First+i%o.Teams] += min(o.Batch, o.Events-i*o.Batch)
	}
	if slices.Equal(counts, want) {
		return nil
	}
	for i := range want {
		if i >= len(counts) || counts[i] != want[i] {
			return fmt.Errorf("not every bucket has its events: that of team %d should have %d, PUTs by bucket: %.200v", i, want[i], counts)
		}
	}
	return fmt.Errorf("PUTs to %d buckets of %d teams", len(counts), len(want))
}

// watch lets the producer work and measures what that takes until the null S3
// has everything. It returns the number of events that were acknowledged, the
// ones for warming up included.
func (r *rig) watch(ctx context.Context, producer *child, t task) (result, int, error) {
	warm, err := producer.report()
	if err != nil {
		return result{}, 0, err
	}
	expect := func(puts int) (nullStats, error) {
		if t.undelivered {
			return r.stats(ctx)
		}
		return r.waitForPuts(ctx, puts)
	}
	before, err := expect(warm.Events)
	if err != nil {
		return result{}, 0, fmt.Errorf("warm up: %w", err)
	}
	start, err := r.takeSnapshot(ctx, producer)
	if err != nil {
		return result{}, 0, err
	}
	if _, err := io.WriteString(producer.stdin, "go\n"); err != nil {
		return result{}, 0, err
	}
	var beside errgroup.Group
	if t.beside != nil {
		beside.Go(func() error { return t.beside(ctx) })
	}
	done, err := producer.report()
	if err != nil {
		return result{}, 0, err
	}
	acked := warm.Events + done.Events
	after, err := expect(acked)
	if err != nil {
		return result{}, 0, err
	}
	if err := beside.Wait(); err != nil {
		return result{}, 0, err
	}
	last := done.End
	if !t.undelivered {
		last = time.Unix(0, after.LastPut)
	}
	if t.finish != nil {
		if last, err = t.finish(ctx); err != nil {
			return result{}, 0, err
		}
	}
	end, err := r.takeSnapshot(ctx, producer)
	if err != nil {
		return result{}, 0, err
	}

	res := result{
		events:  done.Events,
		bytes:   after.PutBytes - before.PutBytes,
		elapsed: last.Sub(done.Start),
		client:  end.producer.since(start.producer),
		null:    after.usage().since(before.usage()),
		refused: done.Refused,
	}
	if len(r.services) > 0 {
		res.poster, res.client = res.client, end.services.since(start.services)
	}
	if r.database != nil {
		res.database, res.statements = end.database-start.database, end.statements.since(start.statements)
	}
	ours := res.client.cpu + res.poster.cpu + res.null.cpu + res.database + end.bench.cpu - start.bench.cpu
	all := end.at.Sub(start.at) * time.Duration(runtime.NumCPU())
	res.others = max(0, float64(end.busy-start.busy-ours)/float64(all))
	r.others = max(r.others, res.others)
	return res, acked, nil
}

// snapshot is what has been used up to now, by whom.
type snapshot struct {
	at                        time.Time
	producer, services, bench usage
	busy                      time.Duration // of the whole machine
	database                  time.Duration // CPU
	statements                statements
}

// takeSnapshot may be without a producer.
func (r *rig) takeSnapshot(ctx context.Context, producer *child) (s snapshot, err error) {
	s.at = time.Now()
	if s.busy, err = busyTime(); err != nil {
		return s, err
	}
	if s.bench, err = usageOf(os.Getpid()); err != nil {
		return s, err
	}
	if producer != nil {
		if s.producer, err = usageOf(producer.pid()); err != nil {
			return s, err
		}
	}
	if s.services, err = r.servicesUsage(); err != nil || r.database == nil {
		return s, err
	}
	if s.database, err = r.database.cpu(); err != nil {
		return s, err
	}
	s.statements, err = r.database.counted(ctx)
	return s, err
}

// waitForPuts asks until the null S3 has seen n PUTs. It gives up when their
// number has not changed for a while.
func (r *rig) waitForPuts(ctx context.Context, n int) (nullStats, error) {
	var seen int64
	moved := time.Now()
	for {
		stats, err := r.stats(ctx)
		if err != nil {
			return stats, err
		}
		if stats.Puts >= int64(n) {
			return stats, nil
		}
		if stats.Puts != seen {
			seen, moved = stats.Puts, time.Now()
		}
		if time.Since(moved) > r.stall {
			return stats, fmt.Errorf("%d PUTs for %d acknowledged events, and none for %v", stats.Puts, n, r.stall)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return stats, err
		}
	}
}

func (r *rig) stats(ctx context.Context) (stats nullStats, err error) {
	return stats, getJSON(ctx, r.endpoint+"/_stats", &stats)
}

func getJSON(ctx context.Context, url string, v any) error {
	body, err := get(ctx, url)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}

var httpClient = &http.Client{Timeout: time.Minute}

// get returns the body of a 200 answer.
func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	return body, nil
}

// dataPath is where the run's service keeps its data.
func (r *rig) dataPath() string { return filepath.Join(r.dir, "data") }
