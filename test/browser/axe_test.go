package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// axeSource is axe-core, which test/setup.sh installs.
var axeSource = sync.OnceValues(func() (string, error) {
	source, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		return "", fmt.Errorf("%w: test/setup.sh installs it", err)
	}
	return string(source), nil
})

// finding is something that axe-core does not let pass.
type finding struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		Target  []any  `json:"target"`
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// runAxe has to come back as JSON: findings refer to elements.
const runAxe = `axe.run(document, {
	runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
	resultTypes: ["violations"],
}).then(result => JSON.stringify(result.violations))`

// checkA11y holds the page as it is now against WCAG 2.1 A and AA, as far as
// axe-core can, which is a script.
func (b *browser) checkA11y() {
	b.t.Helper()
	if !b.script {
		return
	}
	for _, f := range b.axe() {
		for _, n := range f.Nodes {
			b.t.Errorf("%s: %s: %s at %v\n%s\n%s", b.path(), f.ID, f.Help, n.Target, strings.TrimSpace(n.HTML), n.Summary)
		}
	}
}

// axe is what axe-core finds. It runs in a world of its own, which the page's
// policy is not for.
func (b *browser) axe() []finding {
	b.t.Helper()
	source, err := axeSource()
	must(b.t, err)
	frame := call(b, page.GetFrameTree, cdp.Empty{}).FrameTree.Frame.ID
	world := call(b, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: frame, WorldName: "axe"}).ExecutionContextID
	if loaded := call(b, runtime.Evaluate, runtime.EvaluateParams{Expression: source, ContextID: world}); loaded.ExceptionDetails != nil {
		b.t.Fatalf("load axe-core: %s", loaded.ExceptionDetails.Text)
	}
	result := call(b, runtime.Evaluate, runtime.EvaluateParams{Expression: runAxe, ContextID: world, AwaitPromise: new(true), ReturnByValue: new(true)})
	if result.ExceptionDetails != nil {
		b.t.Fatalf("axe-core: %s", result.ExceptionDetails.Text)
	}
	var text string
	var findings []finding
	must(b.t, json.Unmarshal(result.Result.Value, &text), json.Unmarshal([]byte(text), &findings))
	return findings
}
