package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A producer (one of the two loops, or the poster) is started with a JSON
// argument, warms up, prints a producerReport, waits for a line on stdin, does
// its work, prints another, and waits for the end of stdin, so that it can
// still be measured.
type producerReport struct {
	Events     int // PUT or acknowledged
	Start, End time.Time
	Refused    int // calls that were refused for now, and repeated
}

// produce is the producers' side of that.
func produce(stdin io.Reader, stdout io.Writer, warmUp, work func() (producerReport, error)) error {
	in, out := bufio.NewReader(stdin), json.NewEncoder(stdout)
	report, err := warmUp()
	if err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := out.Encode(report); err != nil {
		return err
	}
	if _, err := in.ReadString('\n'); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	if report, err = work(); err != nil {
		return err
	}
	if err := out.Encode(report); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// argument reads the one argument of a child of this binary.
func argument(args []string, options any) error {
	if len(args) != 1 {
		return fmt.Errorf("want 1 argument, have %d", len(args))
	}
	return json.Unmarshal([]byte(args[0]), options)
}

// child is a process that the bench has started. Its stdout is read line by
// line, its stderr kept for when something fails.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *tail
}

// startChild starts bin. Cancelling ctx sends it SIGTERM.
func startChild(ctx context.Context, name, bin string, args, env []string) (*child, error) {
	c := &child{name: name, stderr: new(tail)}
	c.cmd = exec.CommandContext(ctx, bin, args...)
	c.cmd.Env = env
	c.cmd.Stderr = c.stderr
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 40 * time.Second
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdout = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// line reads one line of the child's stdout.
func (c *child) line() (string, error) {
	s, err := c.stdout.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s ended: %w\n%s", c.name, errors.Join(err, c.cmd.Wait()), c.stderr)
	}
	return strings.TrimSpace(s), nil
}

func (c *child) report() (producerReport, error) {
	s, err := c.line()
	if err != nil {
		return producerReport{}, err
	}
	var r producerReport
	if err := json.Unmarshal([]byte(s), &r); err != nil {
		return r, fmt.Errorf("%s said %q: %w", c.name, s, err)
	}
	return r, nil
}

// stop closes the child's stdin, which ends the children of this binary,
// sends SIGTERM if term is set, and waits for the process to exit 0.
func (c *child) stop(term bool) error {
	c.stdin.Close()
	if term {
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stop %s: %w\n%s", c.name, err, c.stderr)
		}
	}
	io.Copy(io.Discard, c.stdout) // to its end: Wait closes the pipe
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("stop %s: %w\n%s", c.name, err, c.stderr)
	}
	return nil
}

// kill ends the child at once. After stop it does nothing.
func (c *child) kill() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// cleanEnv is the environment without what configures AWS clients or the
// service, so that a run depends on the bench alone, plus extra.
func cleanEnv(extra ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "AWS_") || strings.HasPrefix(kv, "AUDITDRAIN_")
	})
	env = append(env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
	return append(env, extra...)
}

// tail keeps the last few KiB written to it. It may be read at any time.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b[max(0, len(t.b)-tailBytes):]))
}
