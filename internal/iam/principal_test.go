package iam

import "testing"

var (
	user = Principal{ARN: "arn:aws:iam::111122223333:user/carlossalazar", Account: "111122223333"}
	root = Principal{ARN: "arn:aws:iam::111122223333:root", Account: "111122223333"}
	// A role with a path, which the session's ARN does not show.
	session = Principal{
		ARN:     "arn:aws:sts::111122223333:assumed-role/examplerole/examplerolesessionname",
		RoleARN: "arn:aws:iam::111122223333:role/path/examplerole",
		Account: "111122223333",
	}
	service   = Principal{Service: "logging.s3.amazonaws.com"}
	anonymous = Principal{}
)

// AWS JSON policy elements: Principal.
func TestPrincipalNames(t *testing.T) {
	aws := func(entries ...string) PrincipalSet { return PrincipalSet{AWS: entries} }
	tests := []struct {
		name string
		set  PrincipalSet
		by   Principal
		want grant
	}{
		{"everyone: user", aws("*"), user, namedItself},
		{"everyone: session", aws("*"), session, namedItself},
		{"everyone: service", aws("*"), service, namedItself},
		{"everyone: anonymous", aws("*"), anonymous, namedItself},
		{"account ARN", aws("arn:aws:iam::111122223333:root"), user, viaAccount},
		{"account identifier", aws("123456789012", "111122223333"), session, viaAccount},
		{"another account", aws("arn:aws:iam::123456789012:root", "123456789012"), session, notNamed},
		{"account of another partition", aws("arn:aws-cn:iam::111122223333:root"), session, viaAccount},
		{"account: the root user itself", aws("arn:aws:iam::111122223333:root"), root, namedItself},
		{"account: anonymous", aws("111122223333"), anonymous, notNamed},
		{"user", aws("arn:aws:iam::111122223333:user/carlossalazar"), user, namedItself},
		{"user names have case", aws("arn:aws:iam::111122223333:user/CarlosSalazar"), user, notNamed},
		{"role", aws("arn:aws:iam::111122223333:role/path/examplerole"), session, viaRole},
		{"role without its path", aws("arn:aws:iam::111122223333:role/examplerole"), session, notNamed},
		{"session", aws("arn:aws:sts::111122223333:assumed-role/examplerole/examplerolesessionname"), session, namedItself},
		{"another session", aws("arn:aws:sts::111122223333:assumed-role/examplerole/other"), session, notNamed},
		{"no wildcards", aws("arn:aws:sts::111122223333:assumed-role/examplerole/*"), session, notNamed},
		{"the closest counts", aws("111122223333", session.ARN, session.RoleARN), session, namedItself},
		{"service", PrincipalSet{Service: []string{"ecs.amazonaws.com", "logging.s3.amazonaws.com"}}, service, namedItself},
		{"another service", PrincipalSet{Service: []string{"ecs.amazonaws.com"}}, service, notNamed},
		{"service as account", aws("logging.s3.amazonaws.com"), service, notNamed},
		{"federated", PrincipalSet{Federated: []string{"accounts.google.com"}}, session, notNamed},
		{"deleted principal", aws("AROAEXAMPLEEXAMPLE12"), session, notNamed},
	}
	for _, tt := range tests {
		if got := tt.set.names(tt.by); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// AWS global condition context keys, "Properties of the principal".
func TestPrincipalConditionKeys(t *testing.T) {
	federated := Principal{ARN: "arn:aws:sts::111122223333:federated-user/x", Account: "111122223333"}
	tests := []struct {
		by                 Principal
		arn, account, kind string
	}{
		{user, user.ARN, "111122223333", "User"},
		{root, root.ARN, "111122223333", "Account"},
		{session, session.RoleARN, "111122223333", "AssumedRole"},
		{federated, federated.ARN, "111122223333", "FederatedUser"},
		{service, "", "", ""},
		{anonymous, "", "", "Anonymous"},
	}
	for _, tt := range tests {
		context := Request{Principal: tt.by}.withContext().Context
		for key, want := range map[string]string{
			"aws:principalarn": tt.arn, "aws:principalaccount": tt.account, "aws:principaltype": tt.kind,
		} {
			got := context[key]
			if want == "" && len(got) == 0 || len(got) == 1 && got[0] == want {
				continue
			}
			t.Errorf("%+v: %s is %q, want %q", tt.by, key, got, want)
		}
	}

	given := Request{Principal: user, Context: map[string][]string{"AWS:PrincipalArn": {"x"}}}.withContext()
	if got := given.Context["aws:principalarn"]; len(got) != 1 || got[0] != "x" {
		t.Errorf("aws:PrincipalArn of the request was replaced by %q", got)
	}
}
