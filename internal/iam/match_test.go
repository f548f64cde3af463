package iam

import (
	"strings"
	"testing"
	"time"
)

func TestMatchesAction(t *testing.T) {
	tests := []struct {
		pattern, action string
		want            bool
	}{
		{"*", "s3:PutObject", true},
		{"s3:*", "s3:PutObject", true},
		{"s3:PutObject", "s3:PutObjectAcl", false},
		{"s3:Put?bject", "s3:PutObject", true},
		{"s3:Put?Object", "s3:PutObject", false},
		// IAM JSON policy elements: Action. "The prefix and the action name are case insensitive. For example,
		// iam:ListAccessKeys is the same as IAM:listaccesskeys."
		{"iam:ListAccessKeys", "IAM:listaccesskeys", true},
		{"iam:*AccessKey*", "iam:CreateAccessKey", true},
		{"iam:*AccessKey*", "iam:CreateUser", false},
		{"s3:${aws:x}", "s3:PutObject", false},
	}
	for _, tt := range tests {
		if got := matchesAction([]string{"x:y", tt.pattern}, tt.action); got != tt.want {
			t.Errorf("%q matches %q: %t, want %t", tt.pattern, tt.action, got, tt.want)
		}
	}
}

func TestMatchesResource(t *testing.T) {
	vars := variables{
		"aws:username":            {"David"},
		"aws:principaltag/a:b":    {"x/*"},
		"aws:principalorgpaths":   {"a", "b"},
		"aws:principaltag/dollar": {"${aws:username}"},
	}
	const bucket = "arn:aws:s3:::amzn-s3-demo-bucket/"
	tests := []struct {
		pattern, arn string
		want         bool
	}{
		{"*", bucket + "k", true},
		{bucket + "k", bucket + "k", true},
		{bucket + "k", bucket + "K", false},
		{bucket + "k", bucket + "k2", false},
		{bucket + "é?", bucket + "éé", true},
		{bucket + "?", bucket + "éé", false},
		{bucket + "*??", bucket + "€", false},

		// IAM JSON policy elements: Resource, "Using wildcards in resource ARNs".
		{bucket + "*/test/*", bucket + "1/test/object.jpg", true},
		{bucket + "*/test/*", bucket + "1/2/test/object.jpg", true},
		{bucket + "*/test/*", bucket + "1/2/test/3/object.jpg", true},
		{bucket + "*/test/*", bucket + "1/2/3/test/4/object.jpg", true},
		{bucket + "*/test/*", bucket + "1///test///object.jpg", true},
		{bucket + "*/test/*", bucket + "1/test/.jpg", true},
		{bucket + "*/test/*", bucket + "/test/object.jpg", true},
		{bucket + "*/test/*", bucket + "1/test/", true},
		{bucket + "*/test/*", bucket + "1-test/object.jpg", false},
		{bucket + "*/test/*", bucket + "test/object.jpg", false},
		{bucket + "*/test/*", bucket + "1/2/test.jpg", false},
		// "If the * wildcard is the last character of a resource ARN segment, it can expand to match beyond the colon
		// boundaries."
		{"arn:aws:dynamodb:*:table/prod-*", "arn:aws:dynamodb:us-east-1:111122223333:table/prod-x", true},
		{"arn:aws:dynamodb:*:table/prod-*", "arn:aws:dynamodb:us-east-1:111122223333:table/dev-x", false},
		{"arn:aws:dynamodb:*1:table/x", "arn:aws:dynamodb:us-east-1:111:table/x", false},
		{"arn:aws:dynamodb:us-????-1::table/x", "arn:aws:dynamodb:us-east-1::table/x", true},
		{"arn:aws:dynamodb:us-??????:table/x", "arn:aws:dynamodb:us-east:1:table/x", false},
		// "AWS automatically completes the ARN by adding wildcard characters (*) to all missing fields."
		{"arn:aws:sqs", "arn:aws:sqs:us-east-2:111122223333:queue1", true},
		{"arn:aws:sqs", "arn:aws:sns:us-east-2:111122223333:queue1", false},
		{"arn:aws:sqs:us-east-2", "arn:aws:sqs:us-east-1:111122223333:queue1", false},
		{"arn:aws:s3:*", bucket + "k", true},
		// Colons in the last segment are characters like any other.
		{bucket + "a*z", bucket + "a:b:z", true},
		{bucket + "a?z", bucket + "a:z", true},

		// IAM policy elements: Variables and tags.
		{"arn:aws:s3:::mybucket/${aws:username}/*", "arn:aws:s3:::mybucket/David/x", true},
		{"arn:aws:s3:::mybucket/${AWS:UserName}/*", "arn:aws:s3:::mybucket/David/x", true},
		{"arn:aws:s3:::mybucket/${aws:username}/*", "arn:aws:s3:::mybucket/Adele/x", false},
		{"arn:aws:s3:::mybucket/${aws:userid}/*", "arn:aws:s3:::mybucket//x", false},
		{"arn:aws:s3:::mybucket/${aws:userid, 'anonymous'}/*", "arn:aws:s3:::mybucket/anonymous/x", true},
		{"arn:aws:s3:::mybucket/${aws:username, 'anonymous'}/*", "arn:aws:s3:::mybucket/David/x", true},
		{"arn:aws:s3:::mybucket/${aws:principalorgpaths}", "arn:aws:s3:::mybucket/a", false}, // several values
		{"arn:aws:s3:::mybucket/${*}${?}${$}", "arn:aws:s3:::mybucket/*?$", true},
		{"arn:aws:s3:::mybucket/${*}", "arn:aws:s3:::mybucket/x", false},
		// What a variable stands for is literal, whatever it holds.
		{"arn:aws:s3:::mybucket/${aws:PrincipalTag/a:b}", "arn:aws:s3:::mybucket/x/*", true},
		{"arn:aws:s3:::mybucket/${aws:PrincipalTag/a:b}", "arn:aws:s3:::mybucket/x/y", false},
		{"arn:aws:s3:::mybucket/${aws:PrincipalTag/dollar}", "arn:aws:s3:::mybucket/${aws:username}", true},
		{"arn:aws:s3:::mybucket/$x${", "arn:aws:s3:::mybucket/$x${", true}, // no variable
	}
	for _, tt := range tests {
		if got := matchesResource([]string{"arn:x", tt.pattern}, tt.arn, vars); got != tt.want {
			t.Errorf("%q matches %q: %t, want %t", tt.pattern, tt.arn, got, tt.want)
		}
	}

	// "Earlier versions of the policy language don't support policy variables."
	literally := "arn:aws:s3:::mybucket/${aws:username}"
	if matchesResource([]string{literally}, "arn:aws:s3:::mybucket/David", nil) {
		t.Error("a variable was replaced in version 2008-10-17")
	}
	if !matchesResource([]string{literally}, literally, nil) {
		t.Error("a variable was not taken literally in version 2008-10-17")
	}
}

// Policies come from strangers, so no pattern may take long.
func TestMatchIsQuick(t *testing.T) {
	start := time.Now()
	p, _ := compile(strings.Repeat("*a", 200)+"b", plainText, nil)
	if p.match(strings.Repeat("a", 2000)) {
		t.Error("match: true")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}
