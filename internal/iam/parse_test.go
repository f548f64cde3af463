package iam

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte(`{
		"Version": "2012-10-17",
		"Id": "everything",
		"Statement": [
			{
				"Sid": "one",
				"Effect": "Allow",
				"Principal": "*",
				"Action": "s3:GetObject",
				"Resource": "arn:aws:s3:::b/*",
				"Condition": {
					"Bool": {"aws:SecureTransport": true},
					"NumericLessThanEquals": {"s3:max-keys": [10, "20"]},
					"StringEquals": {"aws:PrincipalOrgID": "o-1", "s3:x-amz-acl": ["a\u0062", "c"]}
				}
			},
			{
				"Effect": "Deny",
				"NotPrincipal": {"AWS": ["arn:aws:iam::111122223333:user/a", "111122223333"], "Service": "ec2.amazonaws.com"},
				"NotAction": ["s3:*", "*"],
				"NotResource": "*"
			},
			{
				"Effect": "Allow",
				"Principal": {"CanonicalUser": "79a59d", "Federated": ["accounts.google.com"], "AWS": "AROAEXAMPLEEXAMPLE12"},
				"Action": "sts:AssumeRole"
			}
		]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		Version: "2012-10-17",
		ID:      "everything",
		Statements: []Statement{
			{
				Sid:       "one",
				Effect:    Allow,
				Principal: &PrincipalSet{AWS: []string{"*"}},
				Action:    []string{"s3:GetObject"},
				Resource:  []string{"arn:aws:s3:::b/*"},
				Condition: []Condition{
					{Operator: "Bool", Key: "aws:SecureTransport", Values: []string{"true"}},
					{Operator: "NumericLessThanEquals", Key: "s3:max-keys", Values: []string{"10", "20"}},
					{Operator: "StringEquals", Key: "aws:PrincipalOrgID", Values: []string{"o-1"}},
					{Operator: "StringEquals", Key: "s3:x-amz-acl", Values: []string{"ab", "c"}},
				},
			},
			{
				Index:  1,
				Effect: Deny,
				NotPrincipal: &PrincipalSet{
					AWS:     []string{"arn:aws:iam::111122223333:user/a", "111122223333"},
					Service: []string{"ec2.amazonaws.com"},
				},
				NotAction:   []string{"s3:*", "*"},
				NotResource: []string{"*"},
			},
			{
				Index:  2,
				Effect: Allow,
				Principal: &PrincipalSet{
					AWS:           []string{"AROAEXAMPLEEXAMPLE12"},
					Federated:     []string{"accounts.google.com"},
					CanonicalUser: []string{"79a59d"},
				},
				Action: []string{"sts:AssumeRole"},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

// A Statement may be an object (IAM JSON policy elements: Statement).
func TestParseOneStatement(t *testing.T) {
	p, err := Parse([]byte(`{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{Statements: []Statement{{Effect: Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParseErrors(t *testing.T) {
	// statement puts members into a statement that is complete but for an Effect, on line 3.
	statement := func(members string) string {
		return "{\n\"Statement\": [{\"Action\": \"s3:PutObject\", \"Resource\": \"*\",\n" + members + "\n}]}"
	}
	condition := func(c string) string {
		return statement(`"Effect": "Allow", "Condition": ` + c)
	}
	tests := []struct {
		name, doc, want string
	}{
		{"nothing", "", "line 1, column 1: the document ends too early"},
		{"truncated", "{\n  \"Version\": ", "line 2, column 14: the document ends too early"},
		{"no object", "\n []", "line 2, column 2: a policy must be an object such as {\"Version\": \"2012-10-17\", \"Statement\": […]}, not an array"},
		{"JSON syntax", "{\n\"Version\": \"2012-10-17\"\n\"Statement\": []}", "line 3, column 1: "},
		{"invalid UTF-8", "{\"Id\": \"\xff\"}", "line 1, column 9: invalid UTF-8"},
		{"comment", "{ // no\n}", "line 1, column 3: "},
		{"something follows", `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}} {}`, "line 1, column 68: something follows the policy"},
		{"duplicate key", statement("\"Effect\": \"Allow\",\n \"Effect\": \"Deny\""), `line 4, column 2: "Effect" is there twice`},
		{"unknown version", `{"Version": "2012-10-18"}`, `line 1, column 13: Version must be 2012-10-17 or 2008-10-17, not "2012-10-18"`},
		{"unknown element", `{"Statements": []}`, `line 1, column 2: a policy has no element "Statements": it has Version, Id and Statement`},
		{"no statement", ` {"Version": "2012-10-17"}`, "line 1, column 2: the policy has no Statement"},
		{"empty statement", `{"Statement": []}`, "line 1, column 15: Statement is empty"},
		{"statement is text", `{"Statement": "x"}`, `line 1, column 15: a statement must be an object such as {"Effect": "Allow", "Action": …, …}, not "x"`},
		{"unknown statement element", statement(`"effect": "Allow"`), `line 3, column 1: a statement has no element "effect": it has Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource and Condition`},
		{"no effect", statement(`"Sid": "x"`), "line 2, column 15: the statement has no Effect"},
		{"effect has case", statement(`"Effect": "allow"`), `line 3, column 11: Effect must be Allow or Deny, not "allow"`},
		{"Sid is a number", statement(`"Sid": 1`), "line 3, column 8: Sid must be a string, not 1"},
		{"Condition is long text", statement(`"Condition": "` + strings.Repeat("é", 40) + `"`), `line 3, column 14: Condition must be an object such as {"StringEquals": {"sts:ExternalId": "…"}}, not "` + strings.Repeat("é", 30) + `…"`},
		{"Sid twice", "{\"Statement\": [\n{\"Sid\": \"a\", \"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"},\n{\"Sid\": \"a\", \"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}]}", `line 3, column 9: another statement has the Sid "a"`},
		{"Action and NotAction", statement(`"Effect": "Allow", "NotAction": "*"`), "line 2, column 15: the statement has both Action and NotAction"},
		{"no Action", `{"Statement": {"Effect": "Allow", "Resource": "*"}}`, "line 1, column 15: the statement has neither Action nor NotAction"},
		{"no Resource", `{"Statement": {"Effect": "Allow", "Action": "*"}}`, "line 1, column 15: the statement has neither Resource nor NotResource"},
		{"Resource and NotResource", statement(`"Effect": "Allow", "NotResource": "*"`), "line 2, column 15: the statement has both Resource and NotResource"},
		{"Principal and NotPrincipal", statement(`"Effect": "Deny", "Principal": "*", "NotPrincipal": "*"`), "line 2, column 15: the statement has both Principal and NotPrincipal"},
		{"NotPrincipal with Allow", statement(`"Effect": "Allow", "NotPrincipal": "*"`), `line 3, column 20: NotPrincipal must be used with "Effect": "Deny"`},
		{"action without service", statement(`"NotAction": ["s3:*", "PutObject"]`), `line 3, column 23: NotAction "PutObject" is not of the form service:action`},
		{"empty actions", statement(`"NotAction": []`), "line 3, column 14: NotAction is empty"},
		{"action is a number", statement(`"NotAction": ["s3:*", 7]`), "line 3, column 23: NotAction must be a string, not 7"},
		{"resource is no ARN", statement(`"NotResource": "bucket/*"`), `line 3, column 16: NotResource "bucket/*" is neither an ARN nor "*"`},
		{"variable too early", statement(`"NotResource": "arn:aws:s3:${aws:RequestedRegion}::x"`), `line 3, column 16: NotResource "arn:aws:s3:${aws:RequestedRegion}::x" has a policy variable before the fifth colon of the ARN`},
		{"principal is text", statement(`"Principal": "arn:aws:iam::111122223333:root"`), `line 3, column 14: Principal must be "*" or an object like {"AWS": …}, not "arn:aws:iam::111122223333:root"`},
		{"principal names nobody", statement(`"Principal": {}`), "line 3, column 14: Principal names nobody"},
		{"unknown kind of principal", statement(`"Principal": {"aws": "*"}`), `line 3, column 15: Principal has AWS, Service, Federated and CanonicalUser, not "aws"`},
		{"principal with a wildcard", statement(`"Principal": {"AWS": "arn:aws:iam::111122223333:role/*"}`), `line 3, column 22: AWS "arn:aws:iam::111122223333:role/*" has a wildcard, which can only stand alone in a principal: "*"`},
		{"principal is no ARN", statement(`"Principal": {"AWS": "writer"}`), `line 3, column 22: AWS "writer" is neither an account nor the ARN of a user, role or session`},
		{"service with a wildcard", statement(`"Principal": {"Service": "*"}`), `line 3, column 26: Service "*" has a wildcard, which a service cannot have`},
		// "MalformedPolicyDocument: Invalid Condition type : stringEquals"
		{"operators have case", condition(`{"stringEquals": {"aws:x": "y"}}`), `line 3, column 34: there is no condition operator "stringEquals"`},
		{"unknown set operator", condition(`{"ForSomeValues:StringEquals": {"aws:x": "y"}}`), `line 3, column 34: there is no condition operator "ForSomeValues:StringEquals"`},
		{"NullIfExists", condition(`{"NullIfExists": {"aws:x": "true"}}`), `line 3, column 34: there is no condition operator "NullIfExists"`},
		{"condition is text", condition(`"x"`), `line 3, column 33: Condition must be an object such as {"StringEquals": {"sts:ExternalId": "…"}}, not "x"`},
		{"operator without key", condition(`{"Bool": true}`), `line 3, column 42: Bool must be an object such as {"sts:ExternalId": "…"}, not true`},
		{"key without prefix", condition(`{"StringEquals": {"ExternalId": "x"}}`), `line 3, column 51: condition key "ExternalId" has no prefix like aws: or s3:`},
		{"condition value is null", condition(`{"Bool": {"aws:x": null}}`), "line 3, column 52: aws:x must be a string, a number or a boolean, not null"},
		{"condition value is an object", condition(`{"Bool": {"aws:x": {}}}`), "line 3, column 52: aws:x must be a string, a number or a boolean, not an object"},
		{"no condition value", condition(`{"Bool": {"aws:x": []}}`), "line 3, column 52: aws:x is empty"},
		// What Access Analyzer's policy check reference has as errors.
		{"no boolean", condition(`{"Bool": {"aws:x": "yes"}}`), `line 3, column 52: Bool: "yes" is neither true nor false`},
		{"no Null value", condition(`{"Null": {"aws:x": "x"}}`), `line 3, column 52: Null: "x" is neither true nor false`},
		{"no number", condition(`{"NumericEquals": {"aws:x": "0x10"}}`), `line 3, column 61: NumericEquals: "0x10" is not a number`},
		{"no date", condition(`{"DateLessThan": {"aws:x": "tomorrow"}}`), `line 3, column 60: DateLessThan: "tomorrow" is neither an ISO 8601 date nor seconds since 1970`},
		{"no address", condition(`{"IpAddress": {"aws:x": ["10.0.0.0/8", "10.0.0.0/33"]}}`), `line 3, column 72: IpAddress: "10.0.0.0/33" is neither an IP address nor a CIDR block`},
		{"no base64", condition(`{"BinaryEquals": {"aws:x": "?"}}`), `line 3, column 60: BinaryEquals: "?" is not base64`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.doc))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("Parse: %v, want a *SyntaxError", err)
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Parse:\n got %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestMustParsePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("MustParse of an invalid document did not panic")
		}
	}()
	MustParse(`{}`)
}

// FuzzParse checks that nothing makes Parse panic, and nothing that it accepts makes the rest panic or contradict itself.
func FuzzParse(f *testing.F) {
	for _, doc := range []string{
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:username, 'x'}/*"}]}`,
		`{"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": "123456789012"}, "NotAction": "s3:Get?bject", "NotResource": "arn:aws:s3"}}`,
		`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": {
			"ForAllValues:StringLike": {"aws:TagKeys": ["a*", "${$}{"]}, "Null": {"aws:x": false}, "IpAddressIfExists": {"aws:SourceIp": "::/0"},
			"DateLessThan": {"aws:CurrentTime": 2030}, "NumericEquals": {"s3:max-keys": 1e3}, "ArnLike": {"aws:SourceArn": "arn:*:s3:?:*"}}}}`,
		trustPolicy, managedKeyPolicy, customerKeyPolicy, keyPolicy,
	} {
		f.Add([]byte(doc))
	}
	requests := []Request{
		{},
		{Principal: writerSession, Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k", Context: map[string][]string{
			"aws:x": {"1", "true"}, "aws:SourceIp": {"10.0.0.1"}, "aws:CurrentTime": {"2026-01-01"}, "aws:TagKeys": {""}, "s3:max-keys": {"3"}}},
		{Principal: Principal{Service: "ec2.amazonaws.com"}, Action: ":", Resource: "::::::"},
	}
	kinds := []PolicyKind{IdentityBased, ResourceBased, RoleTrustPolicy, SessionPolicy}
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := Parse(doc)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Msg == "" {
				t.Fatalf("Parse: %#v is not a good *SyntaxError", err)
			}
			return
		}
		for _, req := range requests {
			for _, kind := range kinds {
				verdict := p.Evaluate(req, kind)
				if none := len(p.Mismatches(req, kind)) == len(p.Statements); none != (verdict.Effect == "") {
					t.Fatalf("as %s: verdict %q, but no statement applies: %t", kind, verdict.Effect, none)
				}
			}
			d := Authorize(req, Policies{Identity: []*Policy{p}, Boundary: p, Session: p, Resource: p, ResourceKind: Key})
			if d.Allowed != (d.Reason("a:b") == "") {
				t.Fatalf("decision %+v, reason %q", d, d.Reason("a:b"))
			}
		}
	})
}
