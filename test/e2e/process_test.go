package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that should happen soon.
const patience = time.Minute

// pids are the processes that have not been waited for.
type pids struct {
	mu  sync.Mutex
	set map[int]bool
}

var running = pids{set: map[int]bool{}}

func (p *pids) add(pid int)    { p.mu.Lock(); defer p.mu.Unlock(); p.set[pid] = true }
func (p *pids) remove(pid int) { p.mu.Lock(); defer p.mu.Unlock(); delete(p.set, pid) }

func (p *pids) list() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []int
	for pid := range p.set {
		out = append(out, pid)
	}
	slices.Sort(out)
	return out
}

// output collects what a process writes.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced by every write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	text, _ := o.state()
	return text
}

func (o *output) state() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// process is a running auditdrain.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	done   chan struct{} // closed when it has ended and been waited for
}

// start starts the binary. When the test ends it is killed if it still runs,
// and what it wrote is shown if the test has failed.
func start(t *testing.T, path string, env []string, args ...string) *process {
	t.Helper()
	// Not t.Context(), which ends before the cleanups that stop processes.
	ctx, cancel := context.WithCancel(context.Background())
	if deadline, ok := t.Deadline(); ok {
		ctx, cancel = context.WithDeadline(context.Background(), deadline.Add(-10*time.Second))
	}
	p := &process{t: t, cmd: exec.CommandContext(ctx, path, args...), stdout: newOutput(), stderr: newOutput(), done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	running.add(p.cmd.Process.Pid)
	go func() {
		_ = p.cmd.Wait() // told by ProcessState
		cancel()
		running.remove(p.cmd.Process.Pid)
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("auditdrain %s\n%sstderr:\n%s", strings.Join(args, " "), section("stdout:\n", p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

func section(title, text string) string {
	if text == "" {
		return ""
	}
	return title + tail(text)
}

// tail returns the end of a long text.
func tail(text string) string {
	const most = 32 << 10
	if len(text) <= most {
		return text
	}
	return "…" + text[len(text)-most:]
}

// run runs the binary to its end.
func run(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := start(t, binary(t), env, args...)
	p.wait(patience)
	return p
}

// wait waits for the end of the process and returns its exit code, -1 after a
// signal.
func (p *process) wait(most time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		// Its goroutines are what one wants to see then.
		p.signal(syscall.SIGQUIT)
		<-p.done
		p.t.Fatalf("auditdrain did not end within %s", most)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) code() int { return p.wait(patience) }

func (p *process) signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("send %v: %v", s, err)
	}
}

// kill ends the process as a power cut would, as far as the process goes.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop ends the process with SIGTERM, which it has to answer with success.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
}

// await waits until the output matches and returns the first group of the
// match. ok is false if the process has ended without it.
func (p *process) await(out *output, re *regexp.Regexp) (group string, ok bool) {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for ended := false; ; {
		text, changed := out.state()
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1], true
		}
		if ended {
			return "", false
		}
		select {
		case <-changed:
		case <-p.done:
			ended = true // and all that it wrote is there
		case <-timer.C:
			p.t.Fatalf("no %q within %s", re, patience)
		}
	}
}

var listeningRE = regexp.MustCompile(`is listening"?.*\burl"?[=:]"?(http://[0-9.:]+)`)

// url returns where the service answers, once it does.
func (p *process) url() string {
	p.t.Helper()
	url, ok := p.await(p.stderr, listeningRE)
	if !ok {
		p.t.Fatalf("auditdrain has ended with code %d before it listened", p.code())
	}
	return url
}

// operatorToken is the one that all services of these tests are given, but
// for the tests of the token itself.
const operatorToken = "ad_E2eE2eE2eE2eE2eE2eE2eE2eE2eE2e12"

// environment is all that a process finds: nothing of the developer's, AWS at
// awsURL and nowhere else.
func environment(t *testing.T, awsURL string, more ...string) []string {
	t.Helper()
	awsURL = cmp.Or(awsURL, "http://127.0.0.1:1") // a port that nobody answers at
	return append([]string{
		"HOME=" + t.TempDir(),
		"TMPDIR=" + os.TempDir(),
		"AWS_ENDPOINT_URL_S3=" + awsURL,
		"AWS_ENDPOINT_URL_STS=" + awsURL,
		"AWS_REGION=" + homeRegion,
		"AWS_ACCESS_KEY_ID=" + accessKey,
		"AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"GORACE=halt_on_error=1",
	}, more...)
}
