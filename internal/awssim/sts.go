package awssim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/auditdrain/auditdrain/internal/iam"
)

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsVersion   = "2011-06-15"
	maxForm      = 1 << 20

	defaultSession = time.Hour
	chainedSession = time.Hour // the longest for a session made by a session
	minSession     = 15 * time.Minute
	maxSession     = 12 * time.Hour
)

// formRead is STS's request: parameters from body and query, and the body for
// its signature. KMS's has a body only.
type formRead struct {
	body   []byte
	values url.Values
	err    error
}

func readForm(r *http.Request) formRead {
	body, err := readBody(r, maxForm)
	if err != nil {
		return formRead{err: err, values: url.Values{}}
	}
	values, err := url.ParseQuery(string(body))
	for name, v := range r.URL.Query() {
		values[name] = append(values[name], v...)
	}
	return formRead{body: body, values: values, err: err}
}

// hostRegion returns the region of the host name of STS or KMS, and whether it is
// STS's global endpoint, which answers for us-east-1. Any other host, such as
// localhost, answers for all regions.
func hostRegion(service, host string) (region string, global bool) {
	if host == "sts.amazonaws.com" {
		return "us-east-1", true
	}
	labels := strings.Split(host, ".")
	if len(labels) > 3 && (labels[0] == service || labels[0] == service+"-fips") && regionRE.MatchString(labels[1]) {
		return labels[1], false
	}
	return "", false
}

func (c *call) doSTS() (reply, error) {
	switch {
	case errors.Is(c.form.err, errTooLarge):
		return reply{}, refusal(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request size exceeded the limit")
	case c.form.err != nil:
		return reply{}, refusal(http.StatusBadRequest, "MalformedInput", "The request body is not a form: "+c.form.err.Error())
	}
	if err := c.authenticateRPC(); err != nil {
		return reply{}, err
	}
	version := c.form.values.Get("Version")
	switch {
	case version == stsVersion && c.info.Op == "AssumeRole":
		return c.assumeRole()
	case version == stsVersion && c.info.Op == "GetCallerIdentity":
		return c.stsReply(
			Element{"Arn", c.who.principal.ARN},
			Element{"UserId", c.who.userID},
			Element{"Account", c.who.principal.Account}), nil
	case version == stsVersion && slices.Contains([]string{"AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot",
		"DecodeAuthorizationMessage", "GetAccessKeyInfo", "GetFederationToken", "GetSessionToken"}, c.info.Op):
		return reply{}, notSimulated(c.info.Op)
	case c.info.Op == "":
		return reply{}, refusal(http.StatusBadRequest, "MissingAction", "Missing Action")
	default:
		return reply{}, refusal(http.StatusBadRequest, "InvalidAction", "Could not find operation "+c.info.Op+" for version "+cmp.Or(version, "NO_VERSION_SPECIFIED"))
	}
}

// stsReply is a success of STS. An element without a value and without a
// slash in its name is left out; "A/B" nests.
func (c *call) stsReply(result ...Element) reply {
	h := c.answerHeader()
	h.Set("Content-Type", "text/xml")
	rep := reply{status: http.StatusOK, requestID: h.Get("X-Amzn-Requestid"), header: h}
	var b bytes.Buffer
	op := c.info.Op
	fmt.Fprintf(&b, "<%sResponse xmlns=%q>\n  <%sResult>\n", op, stsNamespace, op)
	open := ""
	for _, e := range result {
		parent, name, nested := strings.Cut(e.Name, "/")
		if !nested {
			parent, name = "", e.Name
		}
		if parent != open {
			if open != "" {
				b.WriteString("    </" + open + ">\n")
			}
			if parent != "" {
				b.WriteString("    <" + parent + ">\n")
			}
			open = parent
		}
		writeElements(&b, "    ", Element{name, e.Value})
	}
	if open != "" {
		b.WriteString("    </" + open + ">\n")
	}
	fmt.Fprintf(&b, "  </%sResult>\n  <ResponseMetadata>\n", op)
	writeElements(&b, "    ", Element{"RequestId", rep.requestID})
	fmt.Fprintf(&b, "  </ResponseMetadata>\n</%sResponse>\n", op)
	rep.body = b.Bytes()
	return rep
}

var (
	sessionNameRE = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalIDRE  = regexp.MustCompile(`^[\w+=,.@:/-]*$`)
)

// constraints collects what AWS finds wrong with a request's parameters.
type constraints []string

func (cs *constraints) add(value, name, constraint string) {
	*cs = append(*cs, "Value '"+value+"' at '"+name+"' failed to satisfy constraint: "+constraint)
}

func (cs *constraints) length(form url.Values, param, name string, least, most int) {
	if !form.Has(param) {
		return
	}
	value := form.Get(param)
	switch n := utf8.RuneCountInString(value); {
	case n < least:
		cs.add(value, name, fmt.Sprintf("Member must have length greater than or equal to %d", least))
	case n > most:
		cs.add(value, name, fmt.Sprintf("Member must have length less than or equal to %d", most))
	}
}

func (cs *constraints) required(form url.Values, param, name string) {
	if !form.Has(param) {
		*cs = append(*cs, "Value null at '"+name+"' failed to satisfy constraint: Member must not be null")
	}
}

func (cs *constraints) pattern(form url.Values, param, name string, re *regexp.Regexp, shown string) {
	if value := form.Get(param); !re.MatchString(value) {
		cs.add(value, name, "Member must satisfy regular expression pattern: "+shown)
	}
}

func (cs constraints) err() error {
	switch len(cs) {
	case 0:
		return nil
	case 1:
		return validationError("1 validation error detected: " + cs[0])
	}
	return validationError(strconv.Itoa(len(cs)) + " validation errors detected: " + strings.Join(cs, "; "))
}

func validationError(message string) *Error {
	return refusal(http.StatusBadRequest, "ValidationError", message)
}

// maxSessionPolicy is how long a session policy may be, in characters.
const maxSessionPolicy = 2048

func (c *call) assumeRole() (reply, error) {
	form := c.form.values
	life, policy, err := c.checkAssumeRole()
	if err != nil {
		return reply{}, err
	}
	roleARN, name := form.Get("RoleArn"), form.Get("RoleSessionName")
	// "It is not the account of the caller, but the account from which temporary
	// credentials are requested that must activate the region" (Managing AWS STS
	// in an AWS Region). An opt-in region is activated by being enabled.
	account := arnAccount(roleARN)
	if a := c.sim.account(account); slices.Contains(a.DisabledSTS, c.scope.region) || !a.enabled(c.scope.region) {
		return reply{}, refusal(http.StatusForbidden, "RegionDisabledException", "STS is not activated in this region for account:"+account+
			". Your account administrator can activate STS in this region using the IAM Console.")
	}

	denied := "User: " + c.who.principal.ARN + " is not authorized to perform: sts:AssumeRole on resource: " + roleARN
	role, ok := c.sim.role(roleARN)
	if !ok { // AWS does not tell which roles exist
		return reply{}, refusal(http.StatusForbidden, "AccessDenied", denied)
	}
	context := map[string][]string{"sts:RoleSessionName": {name}}
	if form.Has("ExternalId") {
		context["sts:ExternalId"] = []string{form.Get("ExternalId")}
	}
	d := c.authorize("sts:AssumeRole", roleARN, context, iam.Policies{
		Resource: role.Trust, ResourceKind: iam.RoleTrust, ResourceAccount: account,
	})
	if !d.Allowed {
		if c.sim.acquainted(c.who.principal.Account, account) {
			denied += " " + d.Reason("sts:AssumeRole")
		}
		return reply{}, refusal(http.StatusForbidden, "AccessDenied", denied)
	}

	// Only a caller who may assume the role learns its limits.
	switch {
	case c.who.temporary && life > chainedSession:
		return reply{}, validationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case life > cmp.Or(role.MaxSession, defaultSession):
		return reply{}, validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	_, global := hostRegion("sts", hostname(c.req))
	creds := c.sim.issue(session{roleARN: roleARN, name: name, policy: policy, issued: c.now, global: global}, c.now.Add(life))
	result := []Element{
		{"AssumedRoleUser/AssumedRoleId", uniqueID("AROA", roleARN) + ":" + name},
		{"AssumedRoleUser/Arn", sessionARN(roleARN, name)},
		{"Credentials/AccessKeyId", creds.AccessKeyID},
		{"Credentials/SecretAccessKey", creds.SecretKey},
		{"Credentials/SessionToken", creds.SessionToken},
		{"Credentials/Expiration", creds.Expires.Format(time.RFC3339)},
	}
	if policy != nil {
		// AWS packs policies in a way of its own; the share of the plain
		// limit stands in for it.
		percent := (utf8.RuneCountInString(form.Get("Policy"))*100 + maxSessionPolicy - 1) / maxSessionPolicy
		result = append(result, Element{"PackedPolicySize", strconv.Itoa(percent)})
	}
	return c.stsReply(result...), nil
}

// checkAssumeRole validates AssumeRole's parameters before anybody's
// permissions are looked at, as AWS does.
func (c *call) checkAssumeRole() (life time.Duration, policy *iam.Policy, err error) {
	form := c.form.values
	for name := range form {
		param, _, _ := strings.Cut(name, ".")
		switch param {
		case "Action", "Version", "RoleArn", "RoleSessionName", "ExternalId", "DurationSeconds", "Policy":
		default:
			return 0, nil, notSimulated("AssumeRole's parameter " + param)
		}
	}
	var cs constraints
	cs.required(form, "RoleArn", "roleArn")
	cs.length(form, "RoleArn", "roleArn", 20, 2048)
	cs.required(form, "RoleSessionName", "roleSessionName")
	cs.length(form, "RoleSessionName", "roleSessionName", 2, 64)
	cs.pattern(form, "RoleSessionName", "roleSessionName", sessionNameRE, `[\w+=,.@-]*`)
	cs.length(form, "ExternalId", "externalId", 2, 1224)
	cs.pattern(form, "ExternalId", "externalId", externalIDRE, `[\w+=,.@:\/-]*`)
	cs.length(form, "Policy", "policy", 1, maxSessionPolicy)
	life = defaultSession
	if s := form.Get("DurationSeconds"); form.Has("DurationSeconds") {
		seconds, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return 0, nil, refusal(http.StatusBadRequest, "MalformedInput", "Invalid integer: "+s)
		}
		life = time.Duration(seconds) * time.Second
		switch {
		case life < minSession:
			cs.add(s, "durationSeconds", "Member must have value greater than or equal to 900")
		case life > maxSession:
			cs.add(s, "durationSeconds", "Member must have value less than or equal to 43200")
		}
	}
	if err := cs.err(); err != nil {
		return 0, nil, err
	}
	if arn := form.Get("RoleArn"); !iamARNRE.MatchString(arn) || resourceType(arn) != "role" {
		return 0, nil, validationError(arn + " is invalid")
	}
	if text := form.Get("Policy"); text != "" {
		policy, err = iam.Parse([]byte(text))
		if err != nil {
			return 0, nil, refusal(http.StatusBadRequest, "MalformedPolicyDocument", err.Error())
		}
		for _, st := range policy.Statements {
			if st.Principal != nil || st.NotPrincipal != nil {
				return 0, nil, refusal(http.StatusBadRequest, "MalformedPolicyDocument", "Policy document should not specify a principal.")
			}
		}
	}
	return life, policy, nil
}
