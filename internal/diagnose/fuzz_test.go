package diagnose_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/diagnose"
	"github.com/auditdrain/auditdrain/internal/s3"
)

// Whatever a server answers, its explanation is complete, bounded, and names
// causes only if the answer is known.
func FuzzExplain(f *testing.F) {
	const denied = "User: arn:aws:sts::111122223333:assumed-role/r/s is not authorized to perform: "
	f.Add("sts", 403, "AccessDenied", denied+"sts:AssumeRole on resource: "+roleARN, "")
	f.Add("s3", 403, "AccessDenied", denied+`s3:PutObject on resource: "arn:aws:s3:::b/k" because no identity-based policy allows the s3:PutObject action`, "")
	f.Add("s3", 403, "AccessDenied", denied+`s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a resource-based policy`, "")
	f.Add("s3", 403, "AccessDenied", denied+"kms:GenerateDataKey on resource: "+keyARN+" because no resource-based policy allows the kms:GenerateDataKey action", "")
	f.Add("s3", 400, "AuthorizationHeaderMalformed", "expecting 'us-west-2'", "<Error><Region>us-west-2</Region></Error>")
	f.Add("s3", 400, "KMS.NotFoundException", "Key '"+keyARN+"' does not exist", "")
	f.Add("s3", 0, "", "timed out", "")
	f.Fuzz(func(t *testing.T, service string, status int, code, message, body string) {
		if len(code) > 256 {
			return // s3 keeps no longer ones
		}
		operation := "PutObject"
		if service == "sts" {
			operation = "AssumeRole"
		}
		drain := auditdrain.NewDrain(teamID, "archive", auditdrain.Delivery{
			Type: "s3", Endpoint: "s3://" + bucket + "/" + prefix, Encoding: "json", RoleARN: roleARN, Region: region,
		}, time.UnixMilli(0))
		x := diagnose.Explainer{Namespace: auditdrain.DefaultNamespace, WriterARN: func() string { return writerARN }}
		d, ok := x.Explain(drain, &s3.Error{Answer: auditdrain.AWSAnswer{
			Service: service, Operation: operation, HTTPStatus: status, Code: code, Message: message, Body: body, RoleARN: roleARN, Key: "k",
			Host: "acme-audit-archive.s3.eu-west-1.amazonaws.com",
		}})
		if !ok || d.Summary == "" || d.Known != (len(d.Causes) > 0) || (d.CloudTrail == nil) != (status == 0) {
			t.Errorf("%+v", d)
		}
		for _, c := range d.Causes {
			if c.Code == "" || c.Text == "" || c.Fix == "" || c.Who == "" {
				t.Errorf("%+v", c)
			}
		}
		text := d.String()
		if len(text) > 64<<10 || utf8.ValidString(message) && utf8.ValidString(code) && !utf8.ValidString(text) {
			t.Errorf("%d bytes: %q", len(text), text)
		}
		if len(message) < 1000 && status != 0 && !strings.Contains(text, strings.Join(strings.Fields(message), " ")) {
			t.Errorf("%q is not in %q", message, text)
		}
	})
}
