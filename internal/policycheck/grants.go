package policycheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// destructive are actions that could undo what a drain is for. A pattern that covers one of them is dangerous.
var destructive = []string{
	"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucketPolicy", "s3:PutBucketAcl",
	"s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutEncryptionConfiguration", "s3:PutReplicationConfiguration",
	"s3:BypassGovernanceRetention", "s3:PutObjectVersionAcl", "s3:PutBucketPublicAccessBlock", "s3:PutBucketOwnershipControls",
	"kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy", "kms:CreateGrant", "kms:DeleteImportedKeyMaterial",
}

// grants warns of what a statement allows the role beyond what the drain does.
func (w *watch) grants() {
	if w.st.NotAction != nil || w.st.NotResource != nil {
		w.negated()
		return
	}
	if slices.Contains(w.st.Action, "*") {
		w.warn("any_action", true, `Action "*" allows everything, deleting logs among it: write the actions that are needed`, w.asNeeded()...)
		return
	}
	w.wildcards()
	w.needless()
	w.wideResources()
	w.keyConditions()
}

// negated warns of a statement that allows all but something.
func (w *watch) negated() {
	if w.st.NotAction != nil {
		w.warn("not_action", true, fmt.Sprintf("NotAction allows every action but %s: write those that are needed", quoted(w.st.NotAction)), w.asNeeded()...)
	} else {
		w.warn("not_resource", true, fmt.Sprintf("NotResource allows it on everything but %s: write %s", quoted(w.st.NotResource), quoted([]string{w.grant.ObjectsARN()})), w.asNeeded()...)
	}
}

// asNeeded proposes, in place of the statement, those that allow what the drain uses it for.
func (w *watch) asNeeded() []proposal {
	switch w.doc.kind {
	case auditdrain.PolicyBucket:
		return w.only(w.neededActions("s3"), w.grant.ObjectsARN())
	case auditdrain.PolicyKey:
		return w.only(w.neededActions("kms"), "*")
	}
	var with []string
	for _, s := range w.tasks {
		if statement := w.statementFor(s, w.doc.kind); slices.Contains(s.asked, w.doc.kind) && w.lets(s) && !slices.Contains(with, statement) {
			with = append(with, statement)
		}
	}
	summary := "allow what the drain needs and nothing else"
	if w.drain.KMSKeyARN == "" && w.drain.Delivery.ServerSideEncryption != "AES256" {
		summary += " (if the bucket has a customer managed KMS key, give its ARN first, or its use is lost)"
	}
	return append([]proposal{w.propose(summary, func(e *editor) { e.replaceStatement(w.statement, with...) })}, w.inPlace()...)
}

// only proposes these actions on that resource in place of what the statement has.
func (w *watch) only(actions []string, resource string) []proposal {
	return []proposal{w.propose("allow "+listed(actions, "and")+" only", func(e *editor) { e.allowOnly(w.statement, actions, resource) })}
}

// inPlace proposes a statement that the drain needs in the place of one that must go but is the only one of its policy.
func (w *watch) inPlace() []proposal {
	if w.doc.kind != auditdrain.PolicyPermissions {
		return nil
	}
	return []proposal{w.propose("allow what the drain needs instead (or detach the policy)", func(e *editor) { e.replaceStatement(w.statement, w.grant.WriteStatement()) })}
}

// neededActions are those of a service that the drain needs.
func (w *watch) neededActions(service string) []string {
	switch {
	case service == "kms" && w.doc.kind != auditdrain.PolicyBucket:
		return []string{"kms:GenerateDataKey"}
	case service == "s3" && w.doc.kind != auditdrain.PolicyKey && w.grant.ObjectACL:
		return []string{"s3:PutObject", "s3:PutObjectAcl"}
	case service == "s3" && w.doc.kind != auditdrain.PolicyKey:
		return []string{"s3:PutObject"}
	}
	return nil
}

func serviceOf(action string) string {
	service, _, _ := strings.Cut(strings.ToLower(action), ":")
	return service
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, "*?") }

// wildcards warns of patterns of actions.
func (w *watch) wildcards() {
	for _, pattern := range w.st.Action {
		if !hasWildcard(pattern) {
			continue
		}
		service := serviceOf(pattern)
		code, dangerous := "wide_action", slices.ContainsFunc(destructive, func(a string) bool { return matchesAction(pattern, a) })
		if pattern == service+":*" && (service == "s3" || service == "kms") {
			code, dangerous = service+"_wildcard", true
		}
		var with []string
		for _, a := range w.neededActions(service) {
			if matchesAction(pattern, a) {
				with = append(with, a)
			}
		}
		text := fmt.Sprintf("Action %q allows more than is needed", pattern)
		if dangerous {
			text += ", and could undo what a drain is for (deleting logs, changing who can read them)"
		}
		if with != nil {
			text += ": write " + listed(quotedEach(with), "and")
		}
		fixes := w.instead(is(pattern), with)
		if dangerous {
			fixes = append(fixes, w.inPlace()...)
		}
		w.warn(code, dangerous, text, fixes...)
	}
}

// needless warns of actions that the drain does not use.
func (w *watch) needless() {
	var harmless, dangerous []string
	for _, a := range w.st.Action {
		switch {
		case hasWildcard(a), isNeeded(w.neededActions(serviceOf(a))...)(a):
		case isNeeded(destructive...)(a):
			dangerous = append(dangerous, a)
		default:
			harmless = append(harmless, a)
		}
	}
	if dangerous != nil {
		w.warn("destructive_action", true, fmt.Sprintf("%s could undo what a drain is for, and the drain does not need it", quoted(dangerous)),
			append(w.instead(is(dangerous...), nil), w.inPlace()...)...)
	}
	if harmless != nil {
		w.warn("needless_action", false, fmt.Sprintf("the drain does not need %s", quoted(harmless)), w.instead(is(harmless...), nil)...)
	}
}

// instead proposes other actions in place of some, or to remove the statement if none are left.
func (w *watch) instead(old func(string) bool, with []string) []proposal {
	summary := "leave out what is not needed"
	if with != nil {
		summary = "allow " + listed(with, "and") + " instead"
	}
	proposals := []proposal{w.propose(summary, func(e *editor) { e.replaceValues(old, with, w.statement, "Action") })}
	if with == nil && all(w.st.Action, old) {
		return []proposal{{w.doc, "remove " + w.doc.statementText(w.statement), func(e *editor) { e.removeStatement(w.statement) }}}
	}
	return proposals
}

func quotedEach(values []string) []string {
	var each []string
	for _, v := range values {
		each = append(each, quoted([]string{v}))
	}
	return each
}

// matchesAction reports whether a pattern covers an action.
func matchesAction(pattern, action string) bool {
	p := &iam.Policy{Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{pattern}, Resource: []string{"*"}}}}
	return p.Evaluate(iam.Request{Action: action, Resource: "*"}, iam.IdentityBased).Effect == iam.Allow
}

// wideResources warns of patterns that cover more than the drain's place, or key.
func (w *watch) wideResources() {
	if w.doc.kind != auditdrain.PolicyPermissions {
		return // about its own bucket or key only
	}
	isOf := func(service string) func(string) bool {
		return func(action string) bool { return serviceOf(action) == service }
	}
	writes := slices.ContainsFunc(w.st.Action, func(a string) bool { return matchesAction(a, "s3:PutObject") })
	encrypts := slices.ContainsFunc(w.st.Action, isOf("kms"))

	var otherBuckets, sameBucket, keys []string
	inBucket := strings.TrimSuffix(w.grant.ObjectsARN(), "*")
	if w.grant.Prefix != "" {
		inBucket = strings.TrimSuffix(inBucket, w.grant.Prefix+"/")
	}
	for _, r := range w.st.Resource {
		switch {
		case writes && w.coversObjects(r) && !w.withinEndpoint(r) && strings.HasPrefix(literalHead(r), inBucket):
			sameBucket = append(sameBucket, r)
		case writes && w.coversObjects(r) && !w.withinEndpoint(r):
			otherBuckets = append(otherBuckets, r)
		case encrypts && (r == "*" || strings.Contains(r, ":kms:")) && hasWildcard(r):
			keys = append(keys, r)
		}
	}
	objects := w.grant.ObjectsARN()
	narrower := func(old []string) proposal {
		if all(w.st.Action, isOf("s3")) {
			return w.propose("make Resource "+quoted([]string{objects}), func(e *editor) { e.replaceValues(is(old...), []string{objects}, w.statement, "Resource") })
		}
		return w.propose("leave out what is of S3, and add a statement for that", func(e *editor) {
			e.replaceValues(isOf("s3"), nil, w.statement, "Action")
			e.addStatement(w.grant.WriteStatement())
		})
	}
	if otherBuckets != nil {
		w.warn("any_bucket", true, fmt.Sprintf("Resource %s covers other buckets, so that the role can write there, too: write %q", quoted(otherBuckets), objects), narrower(otherBuckets))
	}
	if sameBucket != nil {
		w.warn("wide_resource", false, fmt.Sprintf("Resource %s covers more of the bucket than the drain writes: write %q", quoted(sameBucket), objects), narrower(sameBucket))
	}
	if keys != nil {
		var fixes []proposal
		text := fmt.Sprintf("Resource %s covers more keys than the bucket's", quoted(keys))
		if key := w.drain.KMSKeyARN; key != "" {
			text += fmt.Sprintf(": write %q", key)
			if all(w.st.Action, isOf("kms")) {
				fixes = append(fixes, w.propose(fmt.Sprintf("make Resource %q", key), func(e *editor) { e.replaceValues(is(keys...), []string{key}, w.statement, "Resource") }))
			}
		}
		w.warn("any_key", false, text, fixes...)
	}
}

// coversObjects reports whether a pattern of resources matches an object that the drain writes.
func (w *watch) coversObjects(pattern string) bool {
	p := &iam.Policy{Version: w.doc.policy.Version, Statements: []iam.Statement{{Effect: iam.Allow, Action: []string{"*"}, Resource: []string{pattern}}}}
	return slices.ContainsFunc(w.tasks, func(s step) bool {
		return s.resource == auditdrain.PolicyBucket && p.Evaluate(s.request, iam.IdentityBased).Effect == iam.Allow
	})
}

// keyConditions warns if the role may use a key otherwise than through S3, or for another account.
func (w *watch) keyConditions() {
	if !slices.ContainsFunc(w.st.Action, func(a string) bool { return matchesAction(a, "kms:GenerateDataKey") }) {
		return
	}
	lets := func(key string) bool {
		s := w.dataKey()
		s.facts.none(key)
		s.request.Context = s.facts.context()
		st := without(w.st, iam.Mismatch{Element: "Resource"}) // whichever key it is
		st = withoutUnknown(st, w.doc.policy.Version, s.facts)
		return applies(st, w.doc, s)
	}
	fixes := func(keys ...string) []proposal {
		ofKMS := func(a string) bool { return serviceOf(a) == "kms" }
		switch {
		case all(w.st.Action, ofKMS):
		case w.doc.kind == auditdrain.PolicyPermissions && w.drain.KMSKeyARN != "":
			return []proposal{w.propose("leave out what is of KMS, and add a statement for that", func(e *editor) {
				e.replaceValues(ofKMS, nil, w.statement, "Action")
				e.addStatement(w.grant.EncryptStatement())
			})}
		default:
			return nil // the conditions would keep the other actions from being allowed
		}
		values := map[string]string{"kms:ViaService": w.viaService(), "kms:CallerAccount": w.role.Account}
		var each []string
		for _, key := range keys {
			each = append(each, fmt.Sprintf("%s %q", key, values[key]))
		}
		return []proposal{w.propose("require "+listed(each, "and"), func(e *editor) {
			for _, key := range keys {
				e.setCondition(w.statement, key, values[key])
			}
		})}
	}
	anyService, anyAccount := lets("kms:ViaService"), lets("kms:CallerAccount")
	switch {
	case anyService && anyAccount:
		w.warn("missing_via_service", false, fmt.Sprintf("the key can be used otherwise than through S3: require kms:ViaService %q and kms:CallerAccount %q", w.viaService(), w.role.Account),
			fixes("kms:CallerAccount", "kms:ViaService")...)
	case anyService:
		w.warn("missing_via_service", false, fmt.Sprintf("the key can be used otherwise than through S3: require kms:ViaService %q", w.viaService()), fixes("kms:ViaService")...)
	case anyAccount:
		w.warn("missing_caller_account", false, fmt.Sprintf("it is not required that the caller is of account %s: require kms:CallerAccount", w.role.Account), fixes("kms:CallerAccount")...)
	}
}
