package policycheck

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/auditdrain/auditdrain"
)

const trustText = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "vercel-team:team_123"
        }
      }
    }
  ]
}`

func compact(text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func quotedJSON(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// TestRead has the same trust policy in every form in which people have one.
func TestRead(t *testing.T) {
	indented := strings.ReplaceAll(trustText, "\n", "\n        ")
	tests := []struct {
		name, given string
		kind        auditdrain.PolicyKind
		line        int    // of the statement
		text        string // "": as given
	}{
		{"by itself", trustText, "", 4, ""},
		{"with a byte order mark", "\uFEFF" + trustText, "", 4, trustText},
		{"of Windows", strings.ReplaceAll(trustText, "\n", "\r\n"), "", 4, ""},
		{"on one line", compact(trustText), "", 1, ""},
		{"with comments", "// trust\n" + strings.Replace(trustText, "[\n", "[ /* only\n one */\n", 1), "", 6, ""},
		{"with commas at the end", strings.NewReplacer("}\n  ]", "},\n  ]", "\"sts:AssumeRole\"", `["sts:AssumeRole",]`).Replace(trustText), "", 4, ""},
		{"aws iam get-role", "{\n    \"Role\": {\n        \"Path\": \"/\",\n        \"RoleName\": \"drain\",\n        \"Arn\": \"" + roleARN + "\",\n        \"AssumeRolePolicyDocument\": " + indented + ",\n        \"MaxSessionDuration\": 3600\n    }\n}\n", "", 9, trustText},
		{"aws iam get-role --query Role", "{\"RoleName\": \"drain\", \"AssumeRolePolicyDocument\": " + trustText + "}", "", 4, trustText},
		{"IAM's API", url.PathEscape(trustText), "trust", 1, trustText},
		{"IAM's API, of another encoder", url.QueryEscape(strings.ReplaceAll(trustText, " ", "")), "trust", 1, strings.ReplaceAll(trustText, " ", "")},
		{"an SDK's get-role", `{"Role": {"AssumeRolePolicyDocument": "` + url.PathEscape(compact(trustText)) + `"}}`, "", 1, ""},
		{"a string", quotedJSON(trustText), "", 1, trustText},
		{"a string of output", quotedJSON(`{"AssumeRolePolicyDocument": ` + quotedJSON(compact(trustText)) + `}`), "", 1, ""},
		{"a string with two halves of a character", `"{\"Id\": \"\ud83d\ude00\u00e9\", \"Statement\": {\"Effect\": \"Allow\", \"Principal\": \"*\", \"Action\": \"sts:AssumeRole\"}}"`, "", 1,
			"{\n  \"Id\": \"😀é\",\n  \"Statement\": {\n    \"Effect\": \"Allow\",\n    \"Principal\": \"*\",\n    \"Action\": \"sts:AssumeRole\"\n  }\n}"},
		{"a statement that is no list", `{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}`, "", 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, problem := readDocument(auditdrain.PolicyDocument{Kind: tt.kind, Name: "x", Document: tt.given})
			if problem != nil {
				t.Fatal(problem)
			}
			if doc.kind != auditdrain.PolicyTrust || doc.line(0) != tt.line {
				t.Errorf("kind %s, line %d, want trust, line %d", doc.kind, doc.line(0), tt.line)
			}
			want := tt.text
			if want == "" {
				want = tt.given
			}
			if strings.HasPrefix(tt.name, "an SDK's") || tt.name == "a string of output" {
				if compact(doc.text) != compact(trustText) || strings.Count(doc.text, "\n") < 10 {
					t.Errorf("not laid out: %s", doc.text)
				}
			} else if doc.text != want {
				t.Errorf("text %q\nwant %q", doc.text, want)
			}
		})
	}
}

func TestReadKinds(t *testing.T) {
	const (
		write  = `{"Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}]}`
		bucket = `{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}]}`
		key    = `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"}]}`
		either = `{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}]}`
	)
	tests := []struct {
		name, given string
		kind        auditdrain.PolicyKind
		want        string // the kind, or part of the error
	}{
		{"permissions", write, "", "permissions"},
		{"boundary", write, "boundary", "boundary"},
		{"bucket", bucket, "", "bucket"},
		{"key", key, "", "key"},
		{"either", either, "", `kind: x: cannot be told from the policy alone, which could be several kinds: say which, "trust", "bucket" or "key"`},
		{"either, told", either, "key", "key"},
		{"unknown kind", key, "keys", `kind: "keys" is not allowed: use "trust", "permissions", "boundary", "bucket" or "key", or leave it out`},
		{"get-role-policy", `{"RoleName": "drain", "PolicyName": "write", "PolicyDocument": ` + write + `}`, "", "permissions"},
		{"get-policy-version", `{"PolicyVersion": {"Document": ` + write + `, "VersionId": "v1", "IsDefaultVersion": true}}`, "", "permissions"},
		{"get-policy-version, boundary", `{"PolicyVersion": {"Document": ` + write + `}}`, "boundary", "boundary"},
		{"get-bucket-policy", `{"Policy": ` + quotedJSON(bucket) + `}`, "", "bucket"},
		{"get-key-policy", `{"Policy": ` + quotedJSON(key) + `}`, "", "key"},
		{"get-key-policy that could be either", `{"Policy": ` + quotedJSON(either) + `, "PolicyName": "default"}`, "", "key"},
		{"output that could be either", `{"Policy": ` + quotedJSON(either) + `}`, "", `say which, "bucket" or "key"`},
		{"output of another kind", `{"Role": {"AssumeRolePolicyDocument": ` + trustText + `}}`, "permissions", `kind: x: "permissions" does not fit: this is the output of aws iam get-role, which prints a trust policy`},
		{"no permissions policy", key, "permissions", `document: x, line 1, column 36: a permissions policy has no Principal: is it of another kind?`},
		{"no trust policy", bucket, "trust", `a trust policy has no Resource: is it of another kind?`},
		{"no bucket policy", write, "bucket", `document: x, line 1, column 16: a statement of a bucket policy needs a Principal`},
		{"trust policy as key policy", trustText, "key", `document: x, line 4, column 5: a statement of a key policy needs a Resource`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, problem := readDocument(auditdrain.PolicyDocument{Kind: tt.kind, Name: "x", Document: tt.given})
			got := ""
			if problem != nil {
				got = problem.Field + ": " + problem.Message
			} else {
				got = string(doc.kind)
			}
			if problem == nil && got != tt.want || problem != nil && !strings.Contains(got, tt.want) {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	broken := strings.Replace(trustText, `"Allow"`, `"allow"`, 1) // line 5, column 17
	const wrong = `Effect must be Allow or Deny, not "allow"`
	tests := []struct{ name, given, want string }{
		{"nothing", " \n", "x, line 1, column 1: there is nothing in it"},
		{"by itself", broken, "x, line 5, column 17: " + wrong},
		{"with a byte order mark", "\uFEFF" + `{"Version": 1}`, "x, line 1, column 13: Version must be a string"},
		{"of Windows", strings.ReplaceAll(broken, "\n", "\r\n"), "x, line 5, column 17: " + wrong},
		{"after comments", "// one\n/* two\n*/" + broken, "x, line 7, column 17: " + wrong},
		{"in get-role", `{"Role": {"AssumeRolePolicyDocument":` + "\n  " + broken + "}}", "x, line 6, column 17: " + wrong},
		{"in an escaped string", `{"Policy": "{\"Version\":\"2012-10-17\",` + `\"Statement\":[{\"Effect\":\"allow\"}]}"}`, `x, line 1, column 68: ` + wrong},
		{"behind an escaped new line", "{\n\"Policy\": \"{\\n \\\"Version\\\": 1}\"}", `x, line 2, column 29: Version must be a string`},
		{"encoded", "%7B%22Version%22%3A1%7D", "x, line 1, column 20: Version must be a string"},
		{"comment without an end", "{\n  /* \"Version\"", "x, line 2, column 3: the comment that begins here does not end"},
		{"cut off", trustText[:100], "x, line 7, column 3: the document ends too early"},
		{"comma missing", `{"Version": "2012-10-17" "Statement": []}`, "x, line 1, column 26: "},
		{"commas only", `{"Statement": [,]}`, "x, line 1, column 16: "},
		{"two commas", `{"Statement": [1,,]}`, "x, line 1, column 18: "},
		{"name twice", `{"Policy": "x", "Policy": "y"}`, `x, line 1, column 17: "Policy" is there twice`},
		{"something follows", trustText + "\n{}", "x, line 18, column 1: something follows the document"},
		{"a list", "[\n]", "x, line 1, column 1: a policy must be an object"},
		{"no policy", `{"a": 1}`, `x, line 1, column 2: a policy has no element "a"`},
		{"one statement", "\n" + `{"Effect": "Allow"}`, `x, line 2, column 1: this is one statement: a policy has it in`},
		{"a user's", `{"UserName": "joe", "PolicyDocument": {}}`, `x, line 1, column 14: this is a policy of user "joe": a drain uses a role`},
		{"get-policy", `{"Policy": {"PolicyName": "p", "DefaultVersionId": "v2"}}`, "x, line 1, column 1: this is the output of aws iam get-policy, which has no policy in it: use aws iam get-policy-version with that version"},
		{"list-attached-role-policies", `{"AttachedPolicies": []}`, "use aws iam get-policy-version for each of them"},
		{"null", `{"PolicyDocument": null}`, "x, line 1, column 20: a policy must be an object"},
		{"wrapped for ever", strings.Repeat(`{"PolicyDocument": `, 9) + "1", "the document ends too early"},
		{"wrapped too often", strings.Repeat(`{"PolicyDocument": `, 9) + "1" + strings.Repeat("}", 9), "it is wrapped too many times"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problem := readDocument(auditdrain.PolicyDocument{Name: "x", Document: tt.given})
			if problem == nil || !strings.Contains(problem.Message, tt.want) {
				t.Errorf("got %+v\nwant %s", problem, tt.want)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	d := testDrain()
	good := auditdrain.PolicyDocument{Document: trustText}
	tests := []struct {
		name string
		docs []auditdrain.PolicyDocument
		want string
	}{
		{"none", nil, "policies: missing: give at least one policy"},
		{"too many", make([]auditdrain.PolicyDocument, MaxDocuments+1), "policies: 26 are too many: give at most 25"},
		{"too long", []auditdrain.PolicyDocument{good, {Document: strings.Repeat(" ", MaxBytes)}}, "policies: 262484 bytes are too many: give at most 262144"},
		{"too many statements", []auditdrain.PolicyDocument{{Document: statements(slices.Repeat([]string{`{"Effect": "Allow", "Action": "*", "Resource": "*"}`}, MaxStatements+1)...)}}, "policies: 301 statements are too many: give at most 300"},
		{"too many values", []auditdrain.PolicyDocument{{Document: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": ["*"` + strings.Repeat(`, "*"`, MaxValues) + `]}`)}}, "policies: 602 actions, resources, principals and condition values are too many: give at most 600"},
		{"too long a policy", []auditdrain.PolicyDocument{{Document: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "` + strings.Repeat("*", MaxPolicyBytes) + `"}`)}}, "bytes are too many for a policy: AWS takes fewer, and 40960 are read"},
		{"too long a name", []auditdrain.PolicyDocument{{Name: strings.Repeat("n", MaxNameLen+1), Document: good.Document}}, "policies.0.name: 257 bytes are too many: use at most 256"},
		{"two of one kind", []auditdrain.PolicyDocument{good, good}, "policies.1: trust policy 2: is a second trust policy beside trust policy"},
		{"two that are broken", []auditdrain.PolicyDocument{{Document: "{"}, good, {Name: "b", Document: "{"}}, "policies.0.document: the policy, line 1, column 2: the document ends too early (and 1 more, see details)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Check(d, tt.docs)
			if auditdrain.ErrorCode(err) != auditdrain.CodeBadRequest || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// Policies of another role say nothing of the drain's.
func TestAnotherRole(t *testing.T) {
	d := testDrain()
	docs := policies{}.documents(d)
	docs[0].Document = `{"Role": {"RoleName": "other", "Arn": "arn:aws:iam::111122223333:role/other", "AssumeRolePolicyDocument": ` + docs[0].Document + `}}`
	docs[1].Document = `{"RoleName": "other", "PolicyName": "write", "PolicyDocument": ` + docs[1].Document + `}`
	r := mustCheck(t, d, docs)
	if r.Result != auditdrain.PolicyUnknown {
		t.Errorf("result %s", r.Result)
	}
	for step, want := range map[string]string{
		"assumeRole": "Document trust.json is the trust policy of role arn:aws:iam::111122223333:role/other, but the drain's roleArn is " + roleARN,
		"putObject":  "Document permissions.json is the permissions policy of role other",
	} {
		if s := stepOf(t, r, step); s.Result != auditdrain.PolicyUnknown || !strings.Contains(s.Reason, want) {
			t.Errorf("%s is %s: %s", step, s.Result, s.Reason)
		}
	}

	docs = policies{}.documents(d)
	docs[1].Document = `{"PolicyVersion": {"Document": ` + docs[1].Document + `, "VersionId": "v3", "IsDefaultVersion": false}}`
	if s := stepOf(t, mustCheck(t, d, docs), "putObject"); s.Result != auditdrain.PolicyUnknown || !strings.Contains(s.Reason, "Document permissions.json is version v3 of its policy") {
		t.Errorf("putObject is %s: %s", s.Result, s.Reason)
	}

	docs = policies{}.documents(d)
	docs[0].Document = `{"Role": {"Arn": "` + roleARN + `", "AssumeRolePolicyDocument": ` + docs[0].Document + `, "PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/limit"}}}`
	r = mustCheck(t, d, docs)
	if s := stepOf(t, r, "putObject"); s.Result != auditdrain.PolicyUnknown || !strings.Contains(s.Reason, "boundary arn:aws:iam::111122223333:policy/limit, which was not given") {
		t.Errorf("putObject is %s: %s", s.Result, s.Reason)
	}
	if s := stepOf(t, r, "assumeRole"); s.Result != auditdrain.PolicyAllowed {
		t.Errorf("assumeRole is %s: %s", s.Result, s.Reason)
	}
}

// AWS takes no comments, and nobody is told so by a patch.
func TestNoteOfComments(t *testing.T) {
	d := testDrain()
	trust := grantOf(d).TrustPolicy()
	for name, tt := range map[string]struct {
		trust string
		want  bool
	}{
		"plain":          {trust, false},
		"a comment":      {trust + " // ours", true},
		"trailing comma": {strings.TrimSuffix(strings.TrimSpace(trust), "}") + ",}", true},
		"only in text":   {strings.Replace(trust, `"Effect"`, `"Sid": "//,]", "Effect"`, 1), false},
	} {
		r := mustCheck(t, d, policies{trust: tt.trust}.documents(d))
		const note = "trust.json has comments or commas behind the last value, which AWS does not take: remove them before use."
		if got := slices.Contains(r.Notes, note); got != tt.want {
			t.Errorf("%s: notes %q", name, r.Notes)
		}
	}
}
