package policycheck

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// proposal is an edit of a document that may help.
type proposal struct {
	doc     *document
	summary string // without the full stop
	apply   func(*editor)
}

// try returns c with the proposal carried out.
func (c *checker) try(p proposal) (*checker, bool) {
	e := newEditor(p.doc.text)
	p.apply(e)
	if e.err != nil {
		return nil, false
	}
	edited, err := p.doc.withText(e.text)
	if err != nil {
		return nil, false
	}
	return c.replacing(p.doc, edited), true
}

// progress is a set of documents on its way to another.
type progress struct {
	from, to  *checker
	summaries map[int][]string // of what was done, by document
}

func (c *checker) begin() *progress {
	return &progress{from: c, to: c, summaries: map[int][]string{}}
}

func (p *progress) add(done proposal, after *checker) {
	i := slices.Index(p.to.docs, done.doc)
	p.summaries[i] = append(p.summaries[i], done.summary)
	p.to = after
}

// edits are what has been done, one for each document that has changed.
func (p *progress) edits() []auditdrain.PolicyEdit {
	var edits []auditdrain.PolicyEdit
	for i, before := range p.from.docs {
		after := p.to.docs[i]
		if after.text == before.text {
			continue
		}
		edits = append(edits, auditdrain.PolicyEdit{
			Document: before.name,
			Summary:  sentence(strings.Join(p.summaries[i], "; ")),
			Patch:    patch(before.fileName(), before.text, after.text),
			Fixed:    after.text,
		})
	}
	return edits
}

// maxRounds bounds the edits that are made one after another. Each of them gets a step nearer to being allowed, so that
// only documents that were made to be awkward need more.
const maxRounds = 20

// mend edits until no step of that name is denied.
func (c *checker) mend(name string) []auditdrain.PolicyEdit {
	p := c.begin()
	for range maxRounds {
		outcomes := p.to.outcomes()
		moved := false
		for i, s := range c.tasks {
			if s.name == name && outcomes[i].result == auditdrain.PolicyDenied && p.advanceSafely(i, outcomes) {
				moved = true
				break
			}
		}
		if !moved {
			break
		}
	}
	return p.edits()
}

// mendAll edits until no step is denied, and nothing is left that is dangerous in what is for the drain alone. Others'
// access to the bucket or the key does not end by it.
func (c *checker) mendAll() []auditdrain.PolicyEdit {
	p := c.begin()
rounds:
	for range maxRounds {
		outcomes := p.to.outcomes()
		for i, o := range outcomes {
			if o.result == auditdrain.PolicyDenied && !p.to.hasSetting(i, o) && p.advanceSafely(i, outcomes) {
				continue rounds
			}
		}
		for _, doc := range p.to.docs {
			findings := p.to.findings(doc)
			for _, f := range findings {
				if f.dangerous && !f.shared && p.relieve(f, outcomes, count(findings, f.code)) {
					continue rounds
				}
			}
		}
		break
	}
	return p.edits()
}

// hasSetting reports whether a Deny is better met by changing the drain.
func (c *checker) hasSetting(i int, o outcome) bool {
	if !o.explicit {
		return false
	}
	setting, _ := c.setting(c.tasks[i])
	return setting != nil
}

// advance makes the first edit that takes a step nearer to being allowed, none of the others further away, and leaves no
// more that is dangerous than was.
func (p *progress) advance(i int, before []outcome) bool {
	for _, proposal := range p.to.proposals(i, before[i]) {
		if after, ok := p.helps(proposal, i, before); ok && after.dangers() <= p.to.dangers() {
			p.add(proposal, after)
			return true
		}
	}
	return false
}

// advanceSafely is advance, and if that finds nothing, makes an edit together with those that do away with the danger
// that it brings to light, as the exemption from a Deny can.
func (p *progress) advanceSafely(i int, before []outcome) bool {
	if p.advance(i, before) {
		return true
	}
	for _, proposal := range p.to.proposals(i, before[i]) {
		after, ok := p.helps(proposal, i, before)
		if !ok {
			continue
		}
		try := &progress{from: p.from, to: p.to, summaries: maps.Clone(p.summaries)}
		try.add(proposal, after)
		if try.relieveTo(p.to.dangers()) {
			*p = *try
			return true
		}
	}
	return false
}

// relieveTo does away with dangerous findings until there are no more than that. In place of one there can be another
// that it hid.
func (p *progress) relieveTo(dangers int) bool {
	for range maxRestores {
		if p.to.dangers() <= dangers {
			return true
		}
		if !p.relieveOne() {
			return false
		}
	}
	return p.to.dangers() <= dangers
}

func (p *progress) relieveOne() bool {
	before := p.to.outcomes()
	for _, doc := range p.to.docs {
		findings := p.to.findings(doc)
		for _, f := range findings {
			if f.dangerous && !f.shared && p.relieve(f, before, count(findings, f.code)) {
				return true
			}
		}
	}
	return false
}

// helps tries an edit, and reports whether it takes a step nearer to being allowed and none of the others further away.
func (p *progress) helps(proposal proposal, i int, before []outcome) (*checker, bool) {
	after, ok := p.to.try(proposal)
	if !ok {
		return nil, false
	}
	outcomes := after.outcomes()
	return after, outcomes[i].distance < before[i].distance && firstWorse(before, outcomes) < 0
}

// dangers counts the dangerous findings.
func (c *checker) dangers() int {
	n := 0
	for _, doc := range c.docs {
		for _, f := range c.findings(doc) {
			if f.dangerous {
				n++
			}
		}
	}
	return n
}

// firstWorse returns the first step that is further from being allowed than before, or -1.
func firstWorse(before, after []outcome) int {
	for i := range before {
		if after[i].distance > before[i].distance {
			return i
		}
	}
	return -1
}

// headers are the fields of a drain that policies can demand, as headers of its requests, and the values to try.
var headers = []struct {
	key, field string
	values     []string
	set        func(*auditdrain.Delivery, string)
}{
	// AES256 would override a bucket that encrypts with a key by default, and nobody would notice.
	{"s3:x-amz-server-side-encryption", "serverSideEncryption", []string{"aws:kms", "AES256", "aws:kms:dsse", ""}, func(d *auditdrain.Delivery, v string) { d.ServerSideEncryption = v }},
	// The first is the one that buckets without ACLs take, too.
	{"s3:x-amz-acl", "objectAcl", []string{"bucket-owner-full-control", "bucket-owner-read", "private", ""}, func(d *auditdrain.Delivery, v string) { d.ObjectACL = v }},
}

// setting returns the one field of the drain that, changed, makes the policies allow a step, and the steps that they
// deny to the drain only then. The fewer are denied with a value, the better.
func (c *checker) setting(s step) (*auditdrain.DrainSetting, []step) {
	var keys []string
	for _, doc := range c.asked(s) {
		for _, st := range doc.policy.Statements {
			for _, cond := range st.Condition {
				keys = append(keys, strings.ToLower(cond.Key))
			}
		}
	}
	var found *auditdrain.DrainSetting
	var remaining []step // denied with it
	for _, h := range headers {
		if !slices.Contains(keys, h.key) {
			continue
		}
		for _, value := range h.values {
			d := c.drain
			h.set(&d.Delivery, value)
			if d.KMSKeyARN != "" && d.Delivery.ValidateKMSKeyARN(d.KMSKeyARN) != nil {
				continue
			}
			other := newChecker(d, c.role, c.docs)
			if !other.allows(s) {
				continue
			}
			if denied := other.denied(); found == nil || len(denied) < len(remaining) {
				found, remaining = &auditdrain.DrainSetting{Field: h.field, Value: value}, denied
			}
			if len(remaining) == 0 {
				return found, nil
			}
		}
	}
	before := c.denied()
	return found, slices.DeleteFunc(remaining, func(t step) bool { return named(before, t) })
}

// allows reports whether the step of another drain is allowed to this one for sure.
func (c *checker) allows(s step) bool {
	return slices.ContainsFunc(c.tasks, func(t step) bool {
		return t.name == s.name && t.request.Resource == s.request.Resource && c.decide(t).distance == 0
	})
}

// denied are the steps that are, each name once.
func (c *checker) denied() []step {
	var denied []step
	for _, t := range c.tasks {
		if !named(denied, t) && c.decide(t).result == auditdrain.PolicyDenied {
			denied = append(denied, t)
		}
	}
	return denied
}

// named reports whether one of the steps has the name of another.
func named(steps []step, other step) bool {
	return slices.ContainsFunc(steps, func(t step) bool { return t.name == other.name })
}
