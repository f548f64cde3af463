package s3

import (
	"errors"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// A rehearsal tells which writes would be permitted, in the whole bucket and
// with any header, and writes nothing.
func TestRehearse(t *testing.T) {
	w := newWorld(t)
	w.UpdateRole(roleARN, func(r *awssim.Role) {
		r.Identity = []*iam.Policy{iam.MustParse(`{"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + bucket + `/elsewhere/*"}]}`)}
	})
	w.UpdateBucket(bucket, func(b *awssim.Bucket) {
		b.Policy = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
			"Resource": "*", "Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}}}]}`)
	})
	d := drain()
	try, err := w.client(t).Rehearse(d)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := d.Delivery
	encrypted.ServerSideEncryption = "AES256"
	owned := d.Delivery
	owned.ObjectACL = "bucket-owner-full-control"
	for _, tt := range []struct {
		name     string
		delivery auditdrain.Delivery
		key      string
		denied   string // in AWS's message; "" means permitted
	}{
		{"as the drain would", d.Delivery, "audit-logs/x", "no identity-based policy allows the s3:PutObject action"},
		{"elsewhere", d.Delivery, "elsewhere/x", ""},
		{"with a header", encrypted, "elsewhere/x", "explicit deny in a resource-based policy"},
		{"with an ACL", owned, "elsewhere/x", "no identity-based policy allows the s3:PutObjectAcl action"},
	} {
		err := try(t.Context(), tt.delivery, tt.key)
		e, ok := errors.AsType[*Error](err)
		switch {
		case (tt.denied == "") != (err == nil):
			t.Errorf("%s: %v", tt.name, err)
		case tt.denied != "" && (!ok || e.Answer.Code != "AccessDenied" || !strings.Contains(e.Answer.Message, tt.denied) || !strings.HasSuffix(e.Answer.CallerARN, "/auditdrain-probe")):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.denied)
		}
	}
	if objects, err := w.Objects(bucket); err != nil || len(objects) != 0 {
		t.Errorf("written: %+v, %v", objects, err)
	}
	if len(w.assumed) != 1 {
		t.Errorf("%d sessions, want 1", len(w.assumed))
	}
}

// Assume tries exactly the external ID that it is given, and a session that
// comes of it can do nothing.
func TestAssume(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	for id, allowed := range map[string]bool{"vercel-team:team_demo": true, "vercel-team:team_other": false, "": false} {
		err := c.Assume(t.Context(), drain(), id)
		if (err == nil) != allowed {
			t.Errorf("external ID %q: %v, want allowed %t", id, err, allowed)
		}
		if e, ok := errors.AsType[*Error](err); !allowed && (!ok || e.Answer.Code != "AccessDenied" || e.Answer.RoleARN != roleARN) {
			t.Errorf("external ID %q: %v", id, err)
		}
		form := w.assumed[len(w.assumed)-1]
		if form.Get("ExternalId") != id || form.Has("ExternalId") != (id != "") || form.Get("RoleSessionName") != "auditdrain-probe" || form.Get("DurationSeconds") != "900" {
			t.Errorf("external ID %q: sent %v", id, form)
		}
		policy := iam.MustParse(form.Get("Policy"))
		if v := policy.Evaluate(iam.Request{Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}, iam.SessionPolicy); v.Effect != iam.Deny {
			t.Errorf("the session could do something: %s", form.Get("Policy"))
		}
	}
}

func TestWriterARN(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	if got := c.KnownWriterARN(); got != "" {
		t.Errorf("known before AWS was asked: %q", got)
	}
	if got, err := c.WriterARN(t.Context()); err != nil || got != userARN || c.KnownWriterARN() != userARN {
		t.Errorf("%q, %v, want %q", got, err, userARN)
	}
	c = w.client(t, func(cfg *Config) { cfg.WriterRoleARN = writerARN })
	if got, err := c.WriterARN(t.Context()); err != nil || got != writerARN || c.KnownWriterARN() != writerARN {
		t.Errorf("%q, %v, want %q", got, err, writerARN)
	}
}
