package policycheck

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestEditsOfAnything makes policies of parts that people write, right, wrong and wide, in all layouts, and holds the
// edits to what is promised of them.
func TestEditsOfAnything(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := generator{rand.New(rand.NewPCG(seed, 1))}
			d := testDrain().with(g.one(nil, withKey, withACL, at("s3://acme"), at("s3://acme/a/b")))
			docs := g.policies(d).documents(d)
			for i := range docs {
				docs[i].Document = g.laidOut(docs[i].Document)
			}
			checkEdits(t, d, docs)
			if t.Failed() {
				for _, doc := range docs {
					t.Logf("%s: %s", doc.Name, doc.Document)
				}
			}
		})
	}
}

type generator struct{ *rand.Rand }

func (g generator) one(choices ...func(*Drain)) func(*Drain) { return choices[g.IntN(len(choices))] }

func (g generator) text(choices ...string) string { return choices[g.IntN(len(choices))] }

// some is one or several of the choices, as an element has them.
func (g generator) some(choices ...string) string {
	if g.IntN(2) == 0 {
		return g.text(choices...)
	}
	g.Shuffle(len(choices), func(i, j int) { choices[i], choices[j] = choices[j], choices[i] })
	return "[" + strings.Join(choices[:1+g.IntN(min(3, len(choices)))], ", ") + "]"
}

func (g generator) policies(d Drain) policies {
	p := policies{trust: g.policy(g.trust), permissions: g.policy(g.permissions(d))}
	if g.IntN(3) == 0 {
		p.boundary = g.policy(g.permissions(d))
	}
	if g.IntN(3) == 0 {
		p.bucket = g.policy(g.bucket)
	}
	if d.KMSKeyARN != "" {
		p.key = g.policy(g.key)
	}
	return p
}

func (g generator) policy(statement func() string) string {
	var all []string
	for range 1 + g.IntN(3) {
		all = append(all, statement())
	}
	if len(all) == 1 && g.IntN(2) == 0 {
		return `{"Statement": ` + all[0] + `}`
	}
	return statements(all...)
}

func (g generator) effect() string { return g.text(`"Allow"`, `"Allow"`, `"Allow"`, `"Deny"`) }

func (g generator) conditions(each ...string) string {
	if g.IntN(4) == 0 {
		return ""
	}
	g.Shuffle(len(each), func(i, j int) { each[i], each[j] = each[j], each[i] })
	seen := map[string]bool{}
	var chosen []string
	for _, c := range each[:1+g.IntN(2)] {
		if operator, _, _ := strings.Cut(c, ":"); !seen[operator] {
			chosen = append(chosen, c)
			seen[operator] = true
		}
	}
	return `, "Condition": {` + strings.Join(chosen, ", ") + `}`
}

func (g generator) trust() string {
	principal := g.text(`"*"`, `{"AWS": `+g.some(`"`+writerARN+`"`, `"arn:aws:iam::977805900156:root"`, `"arn:aws:iam::111122223333:role/admin"`, `"977805900156"`, `"AROAEXAMPLEEXAMPLE12"`, `"*"`)+`}`)
	return fmt.Sprintf(`{"Effect": %s, "Principal": %s, %s%s}`, g.effect(), principal,
		g.text(`"Action": `+g.some(`"sts:AssumeRole"`, `"sts:TagSession"`, `"sts:*"`), `"Action": "sts:AssumeRole"`, `"NotAction": "sts:TagSession"`),
		g.conditions(`"StringEquals": {"sts:ExternalId": "vercel-team:team_123"}`, `"StringEquals": {"sts:ExternalId": "vercel-team:team_1", "aws:PrincipalArn": "`+writerARN+`"}`,
			`"StringLike": {"sts:ExternalId": ["vercel-team:*", "x"]}`, `"StringEqualsIfExists": {"sts:ExternalId": "vercel-team:team_123"}`, `"Null": {"sts:ExternalId": "false"}`,
			`"StringNotEquals": {"sts:ExternalId": ["a", "b"]}`, `"Bool": {"aws:SecureTransport": "true"}`))
}

func (g generator) permissions(d Drain) func() string {
	return func() string {
		return fmt.Sprintf(`{"Effect": %s, %s, %s%s}`, g.effect(),
			g.text(`"Action": `+g.some(`"s3:PutObject"`, `"s3:PutObjectAcl"`, `"s3:*"`, `"s3:GetObject"`, `"s3:DeleteObject"`, `"kms:GenerateDataKey"`, `"kms:*"`, `"*"`, `"s3:Put*"`), `"NotAction": `+g.some(`"s3:GetObject"`, `"iam:*"`)),
			g.text(`"Resource": `+g.some(`"*"`, `"arn:aws:s3:::acme/*"`, `"arn:aws:s3:::acme"`, `"arn:aws:s3:::acme/audit-logs/*"`, `"arn:aws:s3:::acme/audit-logs/schema=*"`, `"`+keyARN+`"`, `"arn:aws:s3:::other/*"`), `"NotResource": "arn:aws:s3:::other/*"`),
			g.conditions(`"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}`, `"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:CallerAccount": "111122223333"}`,
				`"Bool": {"aws:SecureTransport": "true"}`, `"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/drain"}`))
	}
}

func (g generator) bucket() string {
	return fmt.Sprintf(`{"Effect": %s, %s, %s, %s%s}`, "\"Deny\"",
		g.text(`"Principal": "*"`, `"Principal": {"AWS": "`+roleARN+`"}`, `"NotPrincipal": {"AWS": "arn:aws:iam::111122223333:role/admin"}`),
		g.text(`"Action": `+g.some(`"s3:PutObject"`, `"s3:*"`, `"s3:DeleteObject"`), `"NotAction": "s3:GetObject"`),
		g.text(`"Resource": `+g.some(`"arn:aws:s3:::acme/*"`, `"arn:aws:s3:::acme"`, `"*"`), `"NotResource": "arn:aws:s3:::other/*"`),
		g.conditions(`"Bool": {"aws:SecureTransport": "false"}`, `"ArnNotLike": {"aws:PrincipalArn": ["arn:aws:iam::111122223333:role/admin"]}`,
			`"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}`, `"Null": {"s3:if-none-match": "true"}`))
}

func (g generator) key() string {
	return fmt.Sprintf(`{"Effect": %s, "Principal": %s, "Action": %s, "Resource": "*"%s}`, g.effect(),
		g.text(`"*"`, `{"AWS": `+g.some(`"`+roleARN+`"`, `"arn:aws:iam::111122223333:root"`, `"arn:aws:iam::111122223333:role/admin"`, `"AROAEXAMPLEEXAMPLE12"`)+`}`),
		g.some(`"kms:GenerateDataKey"`, `"kms:*"`, `"kms:Decrypt"`, `"kms:GenerateDataKey*"`),
		g.conditions(`"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}`, `"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:CallerAccount": "111122223333"}`,
			`"StringNotEquals": {"kms:CallerAccount": "222222222222"}`, `"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/drain"}`))
}

// laidOut is the policy as one of many people would write it.
func (g generator) laidOut(text string) string {
	switch g.IntN(4) {
	case 0:
		return compact(text)
	case 1:
		return strings.ReplaceAll(laidOut(compact(text)), "\n", "\r\n")
	case 2:
		return strings.NewReplacer("  ", "\t", ",\n", ", // why\n").Replace(laidOut(compact(text)))
	}
	return "/* ours */ " + text + " // end"
}
