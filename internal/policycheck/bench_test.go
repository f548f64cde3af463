package policycheck

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkCheck is of what people have, and of what was made to take long.
func BenchmarkCheck(b *testing.B) {
	repeat := func(statement string) string {
		return statements(strings.TrimSuffix(strings.Repeat(statement+", ", min(MaxStatements-10, 18000/len(statement))), ", "))
	}
	for _, bm := range []struct {
		name     string
		policies policies
	}{
		{"usual", policies{trust: strings.Replace(trustText, "team_123", "*", 1), permissions: statements(`{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::acme/logs/*"}`)}},
		{"wide", policies{permissions: repeat(`{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}`)}},
		{"near", policies{permissions: repeat(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": ["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"]}`)}},
		{"denied", policies{permissions: repeat(`{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}`)}},
		{"trusting", policies{trust: repeat(`{"Effect": "Allow", "Principal": {"AWS": "977805900156"}, "Action": "sts:AssumeRole"}`)}},
		{"values", policies{permissions: statements(`{"Effect": "Allow", "Action": ["s3:PutObject"` + strings.Repeat(`, "s3:GetObject"`, 280) +
			`], "Resource": ["*"` + strings.Repeat(`, "arn:aws:s3:::b/*"`, 280) + `]}`)}},
		{"principals", policies{trust: statements(`{"Effect": "Allow", "Principal": {"AWS": ["977805900156"` + accounts(580) + `]}, "Action": "sts:AssumeRole"}`)}},
		{"patterns", policies{permissions: statements(`{"Effect": "Allow", "Action": ["s3:PutObject"` + strings.Repeat(`, "s3:D*i"`, 580) + `], "Resource": "*"}`)}},
		{"conditions", policies{permissions: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*", "Condition": {"StringEquals": {` + manyConditions(280) + `}}}`)}},
		{"wildcards", policies{permissions: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + strings.Repeat("*a", MaxPolicyBytes/2-1000) + `"}`)}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			d := testDrain()
			docs := bm.policies.documents(d)
			for b.Loop() {
				if _, err := Check(d, docs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func manyConditions(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"saml:%d": ""`, i)
	}
	return strings.Join(keys, ", ")
}

func accounts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `, "%012d"`, 111122223333+i)
	}
	return b.String()
}
