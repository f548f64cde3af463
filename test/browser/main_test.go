// Package browser proves the pages in a real browser: Debian's Chromium, driven
// as a person drives it, by what is written on buttons and beside fields, and
// held to what every page must keep: nothing on the console, no request that
// fails, no policy that is broken, less than 100 KiB, no finding of axe-core.
//
// The service is the shipped binary, a process of its own; AWS is
// internal/awssim in the test's process. Each test has its own service, and
// each of its people a browser profile of their own.
//
// Tests wait for what can be seen on the page. When one fails it names a
// screenshot and the page's HTML; go test -artifacts keeps them.
//
// The binary is built by the tests, unseen by go test's cache: -count=1 (or
// -shuffle=on) has them run after a change of it.
package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/auditdrain/auditdrain/internal/leaktest"
)

// patience is how long a test waits for something that should happen soon.
const patience = 20 * time.Second

// Made once, in TestMain.
var (
	binary   string          // auditdrain
	chromium context.Context // the browser; each page is a child
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/browser:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "auditdrain-browser-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "auditdrain")
	if out, err := exec.Command("go", "-C", "../..", "build", "-o", binary, "./cmd/auditdrain").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build auditdrain: %w\n%s", err, out)
	}
	stop, err := startBrowser()
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if err := stop(); err != nil {
		return 1, fmt.Errorf("stop the browser: %w", err)
	}
	if code == 0 {
		err = leaktest.Find()
	}
	return code, err
}

// startBrowser starts Chromium. It has no sandbox, which wants rights that
// containers seldom have, and loads nothing but what these tests serve.
func startBrowser() (stop func() error, err error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("%w: test/setup.sh installs it", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-search-engine-choice-screen", true),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	browser, _ := chromedp.NewContext(allocator)
	if err := chromedp.Do(browser); err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	chromium = browser
	return func() error {
		defer end()
		return chromedp.Cancel(browser)
	}, nil
}
