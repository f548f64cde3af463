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
	"time"

	"github.com/auditdrain/auditdrain"
)

// mode is one row of the table.
type mode int

const (
	modeBare mode = iota
	modeSDK
	modeAuditdrain
)

var (
	modeNames  = [...]string{modeBare: "bare", modeSDK: "sdk", modeAuditdrain: "auditdrain"}
	modeTitles = [...]string{modeBare: "bare loop of signed PUTs", modeSDK: "loop of SDK PutObject", modeAuditdrain: "auditdrain end to end"}
)

func (m mode) title() string { return modeTitles[m] }

// result is one run of one mode. elapsed goes from the start of the first
// request of the loop or the poster to the answer to the last PUT.
type result struct {
	events  int
	elapsed time.Duration
	client  usage // of the loop, or of the service: what is measured
	null    usage // of the null S3 beside it
	poster  usage // of the process that posts the events; zero in the loops
	// others is the share of the machine's CPU time that went to processes
	// which are not the bench's.
	others float64
}

func (r result) rate() float64 { return float64(r.events) / r.elapsed.Seconds() }

// perEvent is cpu in µs per event.
func (r result) perEvent(cpu time.Duration) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(r.events)
}

// round holds one result of every mode that was chosen.
type round map[mode]result

// measure runs m once, in fresh processes.
func measure(ctx context.Context, o options, m mode) (result, error) {
	null, err := startChild(ctx, "null S3", o.bench, []string{"null-s3"}, cleanEnv())
	if err != nil {
		return result{}, err
	}
	defer null.kill()
	endpoint, err := null.line()
	if err != nil {
		return result{}, err
	}

	var service, producer *child
	if m == modeAuditdrain {
		dir, err := os.MkdirTemp(o.dir, "data-")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		var url, token string
		if service, url, token, err = startService(ctx, o, dir, endpoint); err != nil {
			return result{}, err
		}
		defer service.kill()
		producer, err = startProducer(ctx, o, "post", postOptions{URL: url, Token: token, Events: o.events, Senders: o.senders, Patience: o.stall})
		if err != nil {
			return result{}, err
		}
	} else {
		name := map[mode]string{modeBare: "put-bare", modeSDK: "put-sdk"}[m]
		producer, err = startProducer(ctx, o, name, putOptions{Endpoint: endpoint, Events: o.events, Concurrency: o.concurrency, Patience: o.stall})
		if err != nil {
			return result{}, err
		}
	}
	defer producer.kill()

	res, acked, err := watch(ctx, o, endpoint, producer, service)
	if err != nil {
		if service != nil {
			service.kill()
			err = fmt.Errorf("%w\n%s", err, service.stderr)
		}
		return result{}, err
	}

	// Stop in order, then look again: a service that stops may still have
	// written something that it had written before.
	if err := producer.stop(false); err != nil {
		return result{}, err
	}
	if service != nil {
		if err := service.stop(true); err != nil {
			return result{}, err
		}
	}
	stats, err := nullStatsOf(ctx, endpoint)
	if err != nil {
		return result{}, err
	}
	if stats.Puts != int64(acked) {
		return result{}, fmt.Errorf("%d PUTs for %d acknowledged events", stats.Puts, acked)
	}
	return res, null.stop(false)
}

// watch lets the producer work and measures what that takes until the null S3
// has everything. It returns the number of events that were acknowledged, the
// ones for warming up included. service is nil in the loops.
func watch(ctx context.Context, o options, endpoint string, producer, service *child) (result, int, error) {
	warm, err := producer.report()
	if err != nil {
		return result{}, 0, err
	}
	before, err := waitForPuts(ctx, endpoint, warm.Events, o.stall)
	if err != nil {
		return result{}, 0, fmt.Errorf("warm up: %w", err)
	}
	start, err := takeSnapshot(producer, service)
	if err != nil {
		return result{}, 0, err
	}
	if _, err := io.WriteString(producer.stdin, "go\n"); err != nil {
		return result{}, 0, err
	}
	done, err := producer.report()
	if err != nil {
		return result{}, 0, err
	}
	after, err := waitForPuts(ctx, endpoint, done.Events, o.stall)
	if err != nil {
		return result{}, 0, err
	}
	end, err := takeSnapshot(producer, service)
	if err != nil {
		return result{}, 0, err
	}

	res := result{
		events:  done.Events - warm.Events,
		elapsed: time.Unix(0, after.LastPut).Sub(done.Start),
		client:  end.producer.since(start.producer),
		null:    usage{cpu: after.CPU - before.CPU, peakRSS: after.PeakRSS},
	}
	if service != nil {
		res.poster, res.client = res.client, end.service.since(start.service)
	}
	ours := res.client.cpu + res.poster.cpu + res.null.cpu + end.bench.cpu - start.bench.cpu
	all := end.at.Sub(start.at) * time.Duration(runtime.NumCPU())
	res.others = max(0, float64(end.busy-start.busy-ours)/float64(all))
	return res, done.Events, nil
}

// snapshot is what has been used up to now, by whom.
type snapshot struct {
	at                       time.Time
	producer, service, bench usage
	busy                     time.Duration // of the whole machine
}

func takeSnapshot(producer, service *child) (s snapshot, err error) {
	s.at = time.Now()
	if s.busy, err = busyTime(); err != nil {
		return s, err
	}
	if s.bench, err = usageOf(os.Getpid()); err != nil {
		return s, err
	}
	if s.producer, err = usageOf(producer.pid()); err != nil {
		return s, err
	}
	if service != nil {
		s.service, err = usageOf(service.pid())
	}
	return s, err
}

// startProducer starts this binary as a producer with its options.
func startProducer(ctx context.Context, o options, name string, producerOptions any) (*child, error) {
	arg, err := json.Marshal(producerOptions)
	if err != nil {
		return nil, err
	}
	return startChild(ctx, name, o.bench, []string{name, string(arg)}, cleanEnv())
}

// startService starts auditdrain as an operator would, on a free port, and
// waits until it is ready.
func startService(ctx context.Context, o options, dir, endpoint string) (service *child, baseURL, token string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", "", err
	}
	addr := ln.Addr().String()
	ln.Close()

	token = auditdrain.NewTokenValue()
	service, err = startChild(ctx, "auditdrain serve", o.service,
		[]string{"serve", "--listen", addr, "--data", filepath.Join(dir, "data"), "--writer-role-arn", ""},
		cleanEnv(
			"AWS_ENDPOINT_URL_S3="+endpoint,
			"AWS_ENDPOINT_URL_STS="+endpoint,
			"AWS_ACCESS_KEY_ID="+accessKeyID,
			"AWS_SECRET_ACCESS_KEY="+secretAccessKey,
			"AWS_REGION="+region,
			"AUDITDRAIN_OPERATOR_TOKEN="+token,
		))
	if err != nil {
		return nil, "", "", err
	}
	baseURL = "http://" + addr
	if err := waitReady(ctx, baseURL, o.stall); err != nil {
		service.kill()
		return nil, "", "", fmt.Errorf("%w\n%s", err, service.stderr)
	}
	return service, baseURL, token, nil
}

func waitReady(ctx context.Context, baseURL string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := get(ctx, baseURL+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service did not become ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitForPuts asks until the null S3 has seen n PUTs. It gives up when their
// number has not changed for the time of stall.
func waitForPuts(ctx context.Context, endpoint string, n int, stall time.Duration) (nullStats, error) {
	var seen int64
	moved := time.Now()
	for {
		stats, err := nullStatsOf(ctx, endpoint)
		if err != nil {
			return stats, err
		}
		if stats.Puts >= int64(n) {
			return stats, nil
		}
		if stats.Puts != seen {
			seen, moved = stats.Puts, time.Now()
		}
		if time.Since(moved) > stall {
			return stats, fmt.Errorf("%d PUTs for %d acknowledged events, and none for %v", stats.Puts, n, stall)
		}
		select {
		case <-ctx.Done():
			return stats, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func nullStatsOf(ctx context.Context, endpoint string) (nullStats, error) {
	var stats nullStats
	body, err := get(ctx, endpoint+"/_stats")
	if err != nil {
		return stats, err
	}
	return stats, json.Unmarshal(body, &stats)
}

var client = &http.Client{Timeout: 30 * time.Second}

// get returns the body of a 200 answer.
func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
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
