package policycheck

import (
	"strings"
	"testing"
)

// BenchmarkCheck is of what people have, and of what was made to take long.
func BenchmarkCheck(b *testing.B) {
	repeat := func(statement string) string {
		return statements(strings.TrimSuffix(strings.Repeat(statement+", ", MaxStatements-1), ", "))
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
		{"wildcards", policies{permissions: statements(`{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::` + strings.Repeat("*a", MaxBytes/2-1000) + `"}`)}},
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
