package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// testResult is what the template "testresult" shows: what a test delivery
// came to.
type testResult struct {
	Result   auditdrain.DrainTestResult
	At       int64               // Unix ms, when it was made
	Delivery auditdrain.Delivery // that was tried
	// Drain is name and ID of the drain, as far as there is one already.
	Drain      string
	ExternalID string // "" if it is not known
	// Fixes are edits of the policies that somebody has pasted.
	Fixes []auditdrain.PolicyEdit
}

// Passed reports whether the object was written.
func (t testResult) Passed() bool { return t.Result.Status == "" }

// Repeats reports whether cause i is mended by a statement that one before it
// has shown.
func (t testResult) Repeats(i int) bool {
	causes := t.Result.Diagnosis.Causes
	return slices.ContainsFunc(causes[:i], func(c auditdrain.Cause) bool {
		return c.Change != nil && c.Change.Statement != "" && *c.Change == *causes[i].Change
	})
}

// Setting shows a change of the drain's own field, from what was tried.
func (t testResult) Setting(c auditdrain.Change) []diffLine {
	name := strings.TrimPrefix(c.Field, "delivery.")
	lines := []diffLine{}
	if old := fieldOfDelivery(t.Delivery, name); old != "" {
		lines = append(lines, diffLine{"remove", "- " + name + ": " + old})
	}
	if c.Value != "" {
		lines = append(lines, diffLine{"add", "+ " + name + ": " + c.Value})
	}
	return lines
}

// fieldOfDelivery is the value of a field as the API calls it.
func fieldOfDelivery(d auditdrain.Delivery, name string) string {
	switch name {
	case "endpoint":
		return d.Endpoint
	case "region":
		return d.Region
	case "roleArn":
		return d.RoleARN
	case "encoding":
		return d.Encoding
	case "serverSideEncryption":
		return d.ServerSideEncryption
	case "objectAcl":
		return d.ObjectACL
	}
	return ""
}

// callNames are what AWS calls the steps of a test.
var callNames = map[string]string{"assumeRole": "STS AssumeRole", "putObject": "S3 PutObject"}

// callName is what AWS calls a step of a test.
func callName(step string) string {
	if name, ok := callNames[step]; ok {
		return name
	}
	return step
}

// Support is everything that somebody needs who is asked for help, as text.
func (t testResult) Support() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-20s %s\n", name+":", value)
		}
	}
	outcome := "passed"
	if !t.Passed() {
		outcome = "failed"
	}
	line("Test delivery", outcome)
	line("Time", clock(t.At))
	line("Drain", t.Drain)
	line("Endpoint", t.Delivery.Endpoint)
	line("Region", t.Delivery.Region)
	line("Role", t.Delivery.RoleARN)
	line("External ID", t.ExternalID)
	line("Encoding", t.Delivery.Encoding)
	line("Encryption", t.Delivery.ServerSideEncryption)
	line("Object ACL", t.Delivery.ObjectACL)
	line("Key", t.Result.Key)
	for _, s := range t.Result.Steps {
		outcome := "ok"
		if !s.OK {
			outcome = "failed"
		}
		line(callName(s.Name), outcome+" after "+millis(s.Duration))
	}
	if check := t.Result.RoleCheck; check != nil {
		line("Role check", check.Text)
	}
	line("Error", t.Result.Error)
	if a := t.Result.AWS; a != nil {
		b.WriteString("\n")
		line("AWS call", strings.ToUpper(a.Service)+" "+a.Operation)
		line("Request ID", a.RequestID)
		line("Extended request ID", a.ExtendedRequestID)
		line("Answered at", clock(a.Time))
		line("Host", a.Host)
		line("Called by", a.CallerARN)
		line("Object key", a.Key)
		line("Status", statusNumber(a.HTTPStatus))
		line("Code", a.Code)
		line("Message", a.Message)
		b.WriteString("\n" + answerText(*a))
	}
	return b.String()
}

// statusNumber is an HTTP status, or that there was none.
func statusNumber(status int) string {
	if status == 0 {
		return "no answer came"
	}
	return strconv.Itoa(status)
}

// answerText is headers and body of an answer as they came.
func answerText(a auditdrain.AWSAnswer) string {
	var lines []string
	for name, values := range a.Headers {
		for _, value := range values {
			lines = append(lines, name+": "+value+"\n")
		}
	}
	slices.Sort(lines)
	text := strings.Join(lines, "")
	if a.Body != "" {
		text += "\n" + a.Body + "\n"
	}
	return text
}
