package iam

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The policy and the requests of "The difference between explicit and implicit denies" (Policy evaluation logic).
func TestEvaluate(t *testing.T) {
	p := MustParse(`{
		"Version": "2012-10-17",
		"Statement": [
			{"Sid": "AllowGetList", "Effect": "Allow", "Action": ["iam:Get*", "iam:List*"], "Resource": "*"},
			{"Sid": "DenyReports", "Effect": "Deny", "Action": "iam:*Report", "Resource": "*"}
		]
	}`)
	tests := []struct {
		action string
		want   Effect
		sid    string
	}{
		{"iam:GetUser", Allow, "AllowGetList"},
		{"iam:ListUsers", Allow, "AllowGetList"},
		{"iam:CreatePolicy", "", ""},
		{"iam:GenerateCredentialReport", Deny, "DenyReports"},
		{"iam:GetOrganizationsAccessReport", Deny, "DenyReports"}, // though AllowGetList matches and comes first
	}
	for _, tt := range tests {
		v := p.Evaluate(Request{Principal: user, Action: tt.action, Resource: "arn:aws:iam::111122223333:user/x"}, IdentityBased)
		sid := ""
		if v.Statement != nil {
			sid = v.Statement.Sid
		}
		if v.Effect != tt.want || sid != tt.sid {
			t.Errorf("%s: %q by %q, want %q by %q", tt.action, v.Effect, sid, tt.want, tt.sid)
		}
	}
}

func TestStatementElements(t *testing.T) {
	const object = "arn:aws:s3:::b/k"
	put := Request{Principal: session, Action: "s3:PutObject", Resource: object}
	tests := []struct {
		name, statement string
		kind            PolicyKind
		want            Effect
	}{
		{"NotAction of another", `"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"`, IdentityBased, Deny},
		{"NotAction of this", `"Effect": "Deny", "NotAction": ["iam:*", "s3:put*"], "Resource": "*"`, IdentityBased, ""},
		{"NotResource of another", `"Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::other/*"`, IdentityBased, Deny},
		{"NotResource of this", `"Effect": "Deny", "Action": "s3:*", "NotResource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]`, IdentityBased, ""},
		{"both conditions hold", `"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {
			"StringEquals": {"aws:PrincipalAccount": "111122223333", "aws:PrincipalType": "AssumedRole"}}`, IdentityBased, Allow},
		{"one condition of two holds", `"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {
			"StringEquals": {"aws:PrincipalAccount": "111122223333"}, "Bool": {"aws:SecureTransport": true}}`, IdentityBased, ""},
		{"condition on the role's ARN", `"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": {
			"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/path/examplerole"}}`, ResourceBased, Allow},

		// What a policy of another kind needs, or does not have.
		{"resource-based without Principal", `"Effect": "Allow", "Action": "s3:*", "Resource": "*"`, ResourceBased, ""},
		{"resource-based without Resource", `"Effect": "Allow", "Principal": "*", "Action": "s3:*"`, ResourceBased, ""},
		{"trust policy without Resource", `"Effect": "Allow", "Principal": "*", "Action": "s3:*"`, RoleTrustPolicy, Allow},
		{"resource control with Principal", `"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"`, ResourceControl, Deny},

		// AWS JSON policy elements: NotPrincipal, with its example of the assumed-role user.
		{"NotPrincipal of the session", `"Effect": "Deny", "NotPrincipal": {"AWS": [
			"arn:aws:sts::111122223333:assumed-role/examplerole/examplerolesessionname",
			"arn:aws:iam::111122223333:role/path/examplerole",
			"arn:aws:iam::111122223333:root"
		]}, "Action": "s3:*", "Resource": "*"`, ResourceBased, ""},
		{"NotPrincipal of the role only", `"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::111122223333:role/path/examplerole"},
			"Action": "s3:*", "Resource": "*"`, ResourceBased, Deny},
		{"NotPrincipal of the account only", `"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"},
			"Action": "s3:*", "Resource": "*"`, ResourceBased, Deny},
		{"NotPrincipal of others", `"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::444455556666:user/Bob"},
			"Action": "s3:*", "Resource": "*"`, ResourceBased, Deny},
	}
	for _, tt := range tests {
		p := MustParse(`{"Version": "2012-10-17", "Statement": {` + tt.statement + `}}`)
		if got := p.Evaluate(put, tt.kind).Effect; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Policy variables came with version 2012-10-17 (IAM JSON policy elements: Version).
func TestVariablesNeedVersion(t *testing.T) {
	const statement = `"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:username}"}}`
	req := Request{Principal: user, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/David", Context: map[string][]string{"aws:username": {"David"}}}
	for doc, want := range map[string]Effect{
		`{"Version": "2012-10-17", ` + statement: Allow,
		`{"Version": "2008-10-17", ` + statement: "",
		`{` + statement:                          "",
	} {
		if got := MustParse(doc).Evaluate(req, IdentityBased).Effect; got != want {
			t.Errorf("%s: %q, want %q", doc, got, want)
		}
	}
}

func TestMismatches(t *testing.T) {
	p := MustParse(`{
		"Version": "2012-10-17",
		"Statement": [
			{"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "*", "Resource": "*"},
			{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"},
			{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:s3:::b/other/*"},
			{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {
				"StringEquals": {"aws:PrincipalType": "AssumedRole", "s3:x-amz-acl": "bucket-owner-full-control"}}},
			{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"},
			{"Effect": "Deny", "NotPrincipal": "*", "Action": "*", "Resource": "*"},
			{"Effect": "Deny", "Principal": "*", "NotAction": "s3:*", "Resource": "*"},
			{"Effect": "Deny", "Principal": "*", "Action": "*", "NotResource": "*"}
		]
	}`)
	got := p.Mismatches(Request{Principal: session, Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}, ResourceBased)
	s := func(i int) *Statement { return &p.Statements[i] }
	want := []Mismatch{
		{Statement: s(0), Element: "Principal"},
		{Statement: s(1), Element: "Action"},
		{Statement: s(2), Element: "Resource"},
		{Statement: s(3), Element: "Condition", Condition: &s(3).Condition[1]},
		{Statement: s(5), Element: "NotPrincipal"},
		{Statement: s(6), Element: "NotAction"},
		{Statement: s(7), Element: "NotResource"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Mismatches (-want +got):\n%s", diff)
	}
}
