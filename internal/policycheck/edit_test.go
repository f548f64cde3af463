package policycheck

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEditor has every change on documents of every layout. What is not changed stays.
func TestEditor(t *testing.T) {
	const (
		tabbed = "{\n\t\"Statement\": [\n\t\t// the first\n\t\t{\n\t\t\t\"Sid\": \"A\",\n\t\t\t\"Action\": \"s3:PutObject\", // only\n\t\t\t\"Resource\": [\n\t\t\t\t\"arn:a\", /* a */\n\t\t\t\t\"arn:b\" // b\n\t\t\t]\n\t\t}\n\t]\n}\n"
		commas = "{\n  \"Statement\": [\n    {\n      \"Sid\": \"A\",\n      \"Resource\": [\n        \"arn:a\",\n        \"arn:b\", // b\n      ],\n    },\n  ],\n}"
		tight  = `{"Statement":[{"Sid":"A","Action":["a:b"],"Resource":["arn:a","arn:b"]}]}`
		hugged = "{\n  \"Statement\": [{\n    \"Sid\": \"A\",\n    \"Resource\": [\"arn:a\", \"arn:b\"]\n  }]\n}"
		single = "{\n  \"Statement\": {\n    \"Sid\": \"A\",\n    \"Resource\": \"arn:a\"\n  }\n}"
	)
	const added = `{"Sid": "A", "Effect": "Allow"}`
	resource := func(old string, with ...string) func(*editor) {
		return func(e *editor) { e.replaceValues(is(old), with, 0, "Resource") }
	}
	tests := []struct {
		name, before string
		change       func(*editor)
		oldNew       []string // what has changed in the text
	}{
		{"statement, tabs", tabbed, func(e *editor) { e.addStatement(added) }, []string{"\n\t\t}\n\t]", "\n\t\t},\n\t\t{\n\t\t\t\"Sid\": \"A2\",\n\t\t\t\"Effect\": \"Allow\"\n\t\t}\n\t]"}},
		{"statement, commas", commas, func(e *editor) { e.addStatement(added) }, []string{"    },\n  ],\n}", "    },\n    {\n      \"Sid\": \"A2\",\n      \"Effect\": \"Allow\"\n    },\n  ],\n}"}},
		{"statement, tight", tight, func(e *editor) { e.addStatement(added) }, []string{"}]}", `},{"Sid":"A2","Effect":"Allow"}]}`}},
		{"statement, hugged", hugged, func(e *editor) { e.addStatement(added) }, []string{"  }]", "  }, {\n    \"Sid\": \"A2\",\n    \"Effect\": \"Allow\"\n  }]"}},
		{"statement, single", single, func(e *editor) { e.addStatement(added) }, []string{": {\n    \"S", ": [{\n    \"S", "  }\n}", "  }, {\n    \"Sid\": \"A2\",\n    \"Effect\": \"Allow\"\n  }]\n}"}},
		{"replaced statement", hugged, func(e *editor) { e.replaceStatement(0, added) }, []string{"\"Resource\": [\"arn:a\", \"arn:b\"]", "\"Effect\": \"Allow\""}},

		{"value, tabs", tabbed, func(e *editor) { e.addValue("arn:c", 0, "Resource") }, []string{`"arn:b" // b`, "\"arn:b\", // b\n\t\t\t\t\"arn:c\""}},
		{"value, commas", commas, func(e *editor) { e.addValue("arn:c", 0, "Resource") }, []string{`"arn:b", // b`, "\"arn:b\", // b\n        \"arn:c\","}},
		{"value, tight", tight, func(e *editor) { e.addValue("arn:c", 0, "Resource") }, []string{`"arn:b"`, `"arn:b","arn:c"`}},
		{"value, alone", tabbed, func(e *editor) { e.addValue("b:c", 0, "Action") }, []string{`"s3:PutObject"`, `["s3:PutObject", "b:c"]`}},
		{"last value removed, tabs", tabbed, resource("arn:b"), []string{"\"arn:a\", /* a */\n\t\t\t\t\"arn:b\" // b\n", "\"arn:a\" /* a */\n"}},
		{"first value removed, tabs", tabbed, resource("arn:a"), []string{"\t\t\t\t\"arn:a\", /* a */\n", ""}},
		{"last value removed, commas", commas, resource("arn:b"), []string{"        \"arn:b\", // b\n", ""}},
		{"last value removed, tight", tight, resource("arn:b"), []string{`,"arn:b"`, ""}},
		{"first value removed, tight", tight, resource("arn:a"), []string{`"arn:a",`, ""}},
		{"value replaced", tabbed, resource("arn:a", "arn:x"), []string{"arn:a", "arn:x"}},
		{"value replaced by two", tight, resource("arn:a", "arn:x", "arn:y"), []string{`"arn:a","arn:b"`, `"arn:x","arn:b","arn:y"`}},
		{"value replaced by one that is there", tight, resource("arn:a", "arn:b"), []string{`"arn:a",`, ""}},

		{"condition, tabs", tabbed, func(e *editor) { e.setCondition(0, "k:k", "v") }, []string{"\n\t\t\t]\n", "\n\t\t\t],\n\t\t\t\"Condition\": {\n\t\t\t\t\"StringEquals\": {\n\t\t\t\t\t\"k:k\": \"v\"\n\t\t\t\t}\n\t\t\t}\n"}},
		{"condition, tight", tight, func(e *editor) { e.setCondition(0, "k:k", "v") }, []string{`"arn:b"]`, `"arn:b"],"Condition":{"StringEquals":{"k:k":"v"}}`}},
		{"condition, commas", commas, func(e *editor) { e.setCondition(0, "k:k", "v") }, []string{"      ],\n", "      ],\n      \"Condition\": {\n        \"StringEquals\": {\n          \"k:k\": \"v\"\n        }\n      },\n"}},
		{"another member", tight, func(e *editor) { e.renameMember(0, "Action", "NotAction", `"c:d"`) }, []string{`"Action":["a:b"]`, `"NotAction":"c:d"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, newline := range []string{"\n", "\r\n"} {
				lines := func(s string) string { return strings.ReplaceAll(s, "\n", newline) }
				e := newEditor(lines(tt.before))
				tt.change(e)
				if e.err != nil {
					t.Fatal(e.err)
				}
				want := tt.before
				for i := 0; i < len(tt.oldNew); i += 2 {
					want = strings.Replace(want, tt.oldNew[i], tt.oldNew[i+1], 1)
				}
				if diff := cmp.Diff(lines(want), e.text); diff != "" || want == tt.before {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

func TestSetCondition(t *testing.T) {
	const id = "sts:ExternalId"
	tests := []struct{ before, want string }{
		{`{}`, `{"StringEquals": {"sts:ExternalId": "x"}}`},
		{`{"StringEquals": {"sts:ExternalId": "y"}}`, `{"StringEquals": {"sts:ExternalId": "x"}}`},
		{`{"StringEquals": {"STS:externalid": "y"}}`, `{"StringEquals": {"STS:externalid": "x"}}`},
		{`{"StringEquals": {"sts:ExternalId": ["y", "z"]}}`, `{"StringEquals": {"sts:ExternalId": ["y", "z", "x"]}}`},
		{`{"StringEquals": {"sts:ExternalId": ["y"]}}`, `{"StringEquals": {"sts:ExternalId": ["x"]}}`},
		{`{"StringEquals": {"a:b": "c"}}`, `{"StringEquals": {"a:b": "c", "sts:ExternalId": "x"}}`},
		{`{"StringLike": {"sts:ExternalId": "*"}}`, `{"StringEquals": {"sts:ExternalId": "x"}}`},
		{`{"StringLike": {"sts:ExternalId": "*", "a:b": "c"}}`, `{"StringLike": {"a:b": "c"}, "StringEquals": {"sts:ExternalId": "x"}}`},
		{`{"StringLike": {"sts:ExternalId": "*"}, "StringEquals": {"a:b": "c"}}`, `{"StringEquals": {"a:b": "c", "sts:ExternalId": "x"}}`},
		{`{"Null": {"sts:ExternalId": "false"}, "StringEqualsIfExists": {"sts:ExternalId": "x"}, "Bool": {"a:b": "true"}}`, `{"Bool": {"a:b": "true"}, "StringEquals": {"sts:ExternalId": "x"}}`},
	}
	for _, tt := range tests {
		e := newEditor(`{"Statement": [{"Sid": "a", "Condition": ` + tt.before + `}]}`)
		e.setCondition(0, id, "x")
		want := `{"Statement": [{"Sid": "a", "Condition": ` + tt.want + `}]}`
		if e.err != nil || e.text != want {
			t.Errorf("%s:\n got %s (%v)\nwant %s", tt.before, e.text, e.err, want)
		}
	}
}

func TestPatch(t *testing.T) {
	got := patch("a.json", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"a\": 1,\n  \"b\": 3\n}\n")
	const want = "--- a.json\n+++ a.json\n@@ -1,4 +1,4 @@\n {\n   \"a\": 1,\n-  \"b\": 2\n+  \"b\": 3\n }\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// IAM refuses characters beyond U+00FF that are not escaped.
func TestQuote(t *testing.T) {
	const want = `"\"a/ü\u20ac\ud83d\ude00"`
	if got := quote("\"a/ü€😀"); got != want {
		t.Errorf("quote = %s, want %s", got, want)
	}
}

// Patches are of files that are there, by names that GNU patch reads.
func TestPatchNames(t *testing.T) {
	for _, tt := range []struct{ name, from, want string }{
		{"trust.json", "", "trust.json"},
		{"./aws/../trust.json", "", "trust.json"},
		{"my trust.json", "", "my trust.json\t"},
		{"trust.json", "aws iam get-role", "trust.json#AssumeRolePolicyDocument"},
		{"my.json", "aws kms get-key-policy", "my.json#Policy"},
		{"b.json", "aws s3api get-bucket-policy or aws kms get-key-policy", "b.json#Policy"},
	} {
		d := &document{name: tt.name, from: tt.from}
		want := "--- " + tt.want + "\n+++ " + tt.want + "\n"
		if got := patch(d.fileName(), "a\n", "b\n"); !strings.HasPrefix(got, want) {
			t.Errorf("%s of %q: %q, want %q", tt.name, tt.from, got, want)
		}
	}
}
