package iam

import (
	"slices"
	"testing"
)

// TestConditions has AWS's documented examples and rules; the headings are those of "IAM JSON policy elements: Condition
// operators" unless another page is named.
func TestConditions(t *testing.T) {
	type keys = map[string][]string
	type test struct {
		operator, key string
		values        []string
		context       keys
		want          bool
	}
	is := func(v string) keys { return keys{"aws:key": {v}} }
	on := func(operator, value string, context keys, want bool) test {
		return test{operator, "aws:key", []string{value}, context, want}
	}
	absent := keys{}
	prefixes := []string{"", "home/", "home/${aws:username}/"}
	networks := []string{"203.0.113.0/24", "2001:DB8:1234:5678::/64"}
	tests := []test{
		// String condition operators
		on("StringEquals", "iamuser-admin", is("iamuser-admin"), true),
		on("StringEquals", "iamuser-admin", is("IAMuser-admin"), false),
		on("StringEquals", "iamuser*", is("iamuser-admin"), false),
		on("StringEquals", "iamuser-admin", absent, false),
		on("StringNotEquals", "a", is("a"), false),
		on("StringNotEquals", "a", is("A"), true),
		on("StringNotEquals", "a", absent, true),
		on("StringEqualsIgnoreCase", "a", is("A"), true),
		on("StringEqualsIgnoreCase", "a", is("b"), false),
		on("StringNotEqualsIgnoreCase", "a", is("A"), false),
		on("StringNotEqualsIgnoreCase", "a", is("b"), true),
		on("StringLike", "t2.*", is("t2.micro"), true),
		on("StringLike", "t2.*", is("T2.micro"), false),
		on("StringLike", "t?.micro", is("t2.micro"), true),
		on("StringNotLike", "t2.*", is("t2.micro"), false),
		on("StringNotLike", "t2.*", is("m3.large"), true),
		{"StringLike", "s3:prefix", prefixes, keys{"s3:prefix": {""}, "aws:username": {"David"}}, true},
		{"StringLike", "s3:prefix", prefixes, keys{"s3:prefix": {"home/David/"}, "aws:username": {"David"}}, true},
		{"StringLike", "s3:prefix", prefixes, keys{"s3:prefix": {"home/Adele/"}, "aws:username": {"David"}}, false},
		{"StringLike", "s3:prefix", prefixes, keys{"s3:prefix": {"home/"}}, true},

		// Numeric condition operators
		on("NumericLessThanEquals", "10", is("10"), true),
		on("NumericLessThanEquals", "10", is("9.5"), true),
		on("NumericLessThanEquals", "10", is("11"), false),
		on("NumericLessThanEquals", "10", absent, false),
		on("NumericLessThan", "10", is("10"), false),
		on("NumericLessThan", "10", is("9"), true),
		on("NumericGreaterThan", "10", is("10"), false),
		on("NumericGreaterThan", "10", is("100"), true),
		on("NumericGreaterThanEquals", "10", is("10"), true),
		on("NumericGreaterThanEquals", "10", is("-10"), false),
		on("NumericEquals", "10", is("10.0"), true),
		on("NumericEquals", "10", is("ten"), false),
		on("NumericNotEquals", "10", is("10.0"), false),
		on("NumericNotEquals", "10", is("11"), true),
		on("NumericNotEquals", "10", absent, true),

		// Date condition operators
		on("DateGreaterThan", "2020-01-01T00:00:01Z", is("2020-01-01T00:00:02Z"), true),
		on("DateGreaterThan", "2020-01-01T00:00:01Z", is("2020-01-01T00:00:01Z"), false),
		on("DateGreaterThan", "2020-01-01T00:00:01Z", absent, false),
		on("DateGreaterThanEquals", "2020-01-01T00:00:01Z", is("2020-01-01T01:00:01+01:00"), true),
		on("DateLessThan", "2020-01-01", is("2019-12-31T23:59:59.999Z"), true),
		on("DateLessThan", "2020-01-01", is("2020-01-01T00:00Z"), false),
		on("DateLessThanEquals", "2020", is("2020-01"), true),
		on("DateEquals", "1577836800", is("2020-01-01T00:00:00Z"), true), // epoch time
		on("DateEquals", "2020-01-01", is("1577836801"), false),
		on("DateNotEquals", "2020-01-01", is("2020-01-01T00:00:00Z"), false),
		on("DateNotEquals", "2020-01-01", is("2020-01-02T00:00:00Z"), true),

		// Boolean condition operators
		on("Bool", "false", is("false"), true),
		on("Bool", "false", is("true"), false),
		on("Bool", "False", is("false"), true),
		on("Bool", "false", absent, false),
		on("Bool", "${aws:key}", is("true"), true),

		// Binary condition operators
		on("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", is("BinaryValueInBase64"), true),
		on("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", is("QmluYXJ5VmFsdWVJbkJhc2U2NA=="), false),
		on("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", absent, false),

		// IP address condition operators
		on("IpAddress", "203.0.113.0/24", is("203.0.113.255"), true),
		on("IpAddress", "203.0.113.0/24", is("203.0.114.0"), false),
		on("IpAddress", "203.0.113.7/24", is("203.0.113.1"), true),
		on("IpAddress", "203.0.113.0/24", is("::ffff:203.0.113.1"), true),
		on("IpAddress", "203.0.113.7", is("203.0.113.7"), true), // "the default prefix value of /32"
		on("IpAddress", "203.0.113.7", is("203.0.113.8"), false),
		on("IpAddress", "203.0.113.0/24", is("AWS Internal"), false),
		on("IpAddress", "203.0.113.0/24", absent, false),
		{"IpAddress", "aws:SourceIp", networks, keys{"aws:sourceip": {"2001:db8:1234:5678::1"}}, true},
		{"IpAddress", "aws:SourceIp", networks, keys{"aws:sourceip": {"203.0.113.9"}}, true},
		{"IpAddress", "aws:SourceIp", networks, keys{"aws:sourceip": {"2001:db8:1234:5679::1"}}, false},
		{"NotIpAddress", "aws:SourceIp", networks, keys{"aws:sourceip": {"203.0.113.9"}}, false},
		{"NotIpAddress", "aws:SourceIp", networks, keys{"aws:sourceip": {"198.51.100.1"}}, true},
		{"NotIpAddress", "aws:SourceIp", networks, absent, true},

		// Amazon Resource Name (ARN) condition operators
		on("ArnEquals", "arn:aws:sns:REGION:123456789012:TOPIC-ID", is("arn:aws:sns:REGION:123456789012:TOPIC-ID"), true),
		on("ArnEquals", "arn:aws:sns:*:123456789012:T*", is("arn:aws:sns:REGION:123456789012:TOPIC-ID"), true),
		on("ArnEquals", "arn:aws:sns:REGION:123456789012:TOPIC-ID", is("arn:aws:sns:REGION:123456789012:topic-id"), false),
		on("ArnEquals", "arn:aws:sns:REGION:123456789012:TOPIC-ID", absent, false),
		on("StringLike", "arn:aws:someservice:*:111122223333:finance/*",
			is("arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), true),
		on("ArnLike", "arn:aws:someservice:*:111122223333:finance/*",
			is("arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"), false),
		on("ArnLike", "arn:aws:someservice:*:111122223333:finance/*", is("arn:aws:someservice:us-east-2:111122223333:finance/a:b"), true),
		on("ArnLike", "*", is("arn:aws:sns:REGION:123456789012:TOPIC-ID"), true),
		on("ArnLike", "arn:aws:iam::${aws:account}:role/*", keys{"aws:key": {"arn:aws:iam::1:role/x"}, "aws:account": {"1"}}, true),
		on("ArnNotEquals", "arn:aws:iam::444455556666:user/user-name", is("arn:aws:iam::444455556666:user/user-name"), false),
		on("ArnNotEquals", "arn:aws:iam::444455556666:user/user-name", is("arn:aws:iam::444455556666:user/other"), true),
		on("ArnNotLike", "arn:aws:iam::*:user/*", is("arn:aws:iam::444455556666:user/other"), false),
		on("ArnNotLike", "arn:aws:iam::*:user/*", absent, true),

		// ...IfExists condition operators
		on("StringLikeIfExists", "t2.*", is("t2.micro"), true),
		on("StringLikeIfExists", "t2.*", is("c5.large"), false),
		on("StringLikeIfExists", "t2.*", absent, true),
		on("StringNotEqualsIfExists", "a", is("a"), false),
		on("StringNotEqualsIfExists", "a", absent, true),
		on("BoolIfExists", "true", absent, true),
		on("ForAnyValue:StringEqualsIfExists", "a", absent, true),

		// Condition operator to check existence of condition keys
		on("Null", "true", absent, true),
		on("Null", "true", is("2026-01-01T00:00:00Z"), false),
		on("Null", "false", is("2026-01-01T00:00:00Z"), true),
		on("Null", "false", absent, false),
		on("Null", "TRUE", keys{"aws:key": {}}, true),

		// Conditions with multiple context keys or values: several values are ORed, and NORed by a negated operator.
		{"StringEquals", "aws:key", []string{"a", "b"}, is("b"), true},
		{"StringEquals", "aws:key", []string{"a", "b"}, is("c"), false},
		{"StringNotEquals", "aws:key", []string{"a", "b"}, is("b"), false},
		{"StringNotEquals", "aws:key", []string{"a", "b"}, is("c"), true},

		// IAM policy elements: Variables and tags. With a variable that has no value, "StringEquals or StringLike do not
		// match" and "inverted condition operators like StringNotEquals or StringNotLike do match".
		on("StringEquals", "${aws:none}", is(""), false),
		on("StringLike", "${aws:none}*", is("x"), false),
		on("StringNotEquals", "${aws:none}", is("x"), true),
		on("StringNotLike", "${aws:none}*", is("x"), true),
		on("StringEquals", "${aws:none, 'x'}", is("x"), true),
		on("StringEquals", "a${*}b", is("a*b"), true),
		on("StringLike", "a${*}b", is("axb"), false),
		on("NumericEquals", "${aws:key}", is("1"), false), // no variables in numbers, dates, binaries and addresses

		// Key names have no case.
		{"StringEquals", "AWS:Key", []string{"a"}, is("a"), true},

		// What Parse would have refused holds never.
		on("StringEqual", "a", is("a"), false),
		on("NumericNotEqual", "a", is("a"), false),
	}
	for _, tt := range tests {
		c := Condition{Operator: tt.operator, Key: tt.key, Values: tt.values}
		if got := c.holds(tt.context, tt.context); got != tt.want {
			t.Errorf("%s %s %q with %q: %t, want %t", tt.operator, tt.key, tt.values, tt.context, got, tt.want)
		}
	}
}

// The examples of "Creating a condition that tests multiple key values (set operations)" and of its successors,
// "Single-valued vs. multivalued context keys" and "Multivalued context key examples".
func TestSetOperators(t *testing.T) {
	attributes := []string{"PostDateTime", "Message", "Tags"}
	tests := []struct {
		operator string
		values   []string
		request  []string
		want     bool
	}{
		{"ForAllValues:StringLike", attributes, []string{"PostDateTime", "Message"}, true},
		{"ForAllValues:StringLike", attributes, []string{"PostDateTime", "Message", "ID"}, false},
		{"ForAllValues:StringLike", attributes, []string{"PostDateTime", "UserName"}, false},
		{"ForAnyValue:StringLike", []string{"ID", "PostDateTime"}, []string{"PostDateTime", "Message"}, true},
		{"ForAnyValue:StringLike", []string{"ID", "PostDateTime"}, []string{"UserName"}, false},
		{"ForAnyValue:StringLike", []string{"ID", "PostDateTime"}, []string{"UserName", "Message", "PostDateTime"}, true},

		{"ForAllValues:StringNotLike", []string{"key1*"}, []string{"key1:legal"}, false},
		{"ForAllValues:StringNotLike", []string{"key1*"}, []string{"key1:hr", "key1:personnel"}, false},
		{"ForAllValues:StringNotLike", []string{"key1*"}, []string{"key2:audit"}, true},
		{"ForAllValues:StringNotLike", []string{"key1*"}, nil, true},
		{"ForAnyValue:StringNotLike", []string{"key1*"}, []string{"key1:hr", "key2:audit"}, true},
		{"ForAnyValue:StringNotLike", []string{"key1*"}, []string{"key1:hr"}, false},

		// A key that is absent or empty: "ForAllValues returns true", "ForAnyValue returns false", negated or not.
		{"ForAllValues:StringEquals", []string{"a"}, nil, true},
		{"ForAllValues:StringEquals", []string{"a"}, []string{""}, true},
		{"ForAnyValue:StringEquals", []string{"a"}, nil, false},
		{"ForAnyValue:StringEquals", []string{"a"}, []string{""}, false},
		{"ForAnyValue:StringNotEquals", []string{"a"}, nil, false},

		// Without a set operator, the negated operator stays the opposite of the other.
		{"StringEquals", []string{"a"}, []string{"a", "b"}, true},
		{"StringNotEquals", []string{"a"}, []string{"a", "b"}, false},
	}
	for _, tt := range tests {
		c := Condition{Operator: tt.operator, Key: "aws:TagKeys", Values: tt.values}
		if got := c.holds(map[string][]string{"aws:tagkeys": tt.request}, nil); got != tt.want {
			t.Errorf("%s %q with %q: %t, want %t", tt.operator, tt.values, tt.request, got, tt.want)
		}
	}
}

// Every operator but Null takes IfExists and the set operators, together too.
func TestEveryOperator(t *testing.T) {
	tests := map[string]struct {
		value         string
		holds, breaks [2]string // values of the request
	}{
		"StringEquals":              {"a${*}", [2]string{"a*", "a*"}, [2]string{"a", "ab"}},
		"StringNotEquals":           {"a", [2]string{"A", "b"}, [2]string{"a", "a"}},
		"StringEqualsIgnoreCase":    {"a", [2]string{"A", "a"}, [2]string{"b", "aa"}},
		"StringNotEqualsIgnoreCase": {"a", [2]string{"b", "aa"}, [2]string{"A", "a"}},
		"StringLike":                {"t2.*", [2]string{"t2.micro", "t2."}, [2]string{"c5.large", "T2.micro"}},
		"StringNotLike":             {"t2.*", [2]string{"c5.large", "T2.micro"}, [2]string{"t2.micro", "t2."}},

		"NumericEquals":            {"10", [2]string{"10", "10.0"}, [2]string{"11", "ten"}},
		"NumericNotEquals":         {"10", [2]string{"11", "-10"}, [2]string{"10", "10.0"}},
		"NumericLessThan":          {"10", [2]string{"9", "9.5"}, [2]string{"10", "ten"}},
		"NumericLessThanEquals":    {"10", [2]string{"9", "10"}, [2]string{"11", "ten"}},
		"NumericGreaterThan":       {"10", [2]string{"11", "100"}, [2]string{"10", "ten"}},
		"NumericGreaterThanEquals": {"10", [2]string{"10", "100"}, [2]string{"9", "ten"}},

		"DateEquals":            {"2020-01-01", [2]string{"2020-01-01T00:00:00Z", "1577836800"}, [2]string{"2020-01-02", "today"}},
		"DateNotEquals":         {"2020-01-01", [2]string{"2020-01-02", "2019"}, [2]string{"2020-01-01T00:00:00Z", "1577836800"}},
		"DateLessThan":          {"2020-01-01", [2]string{"2019-12-31T23:59:59Z", "1577836799"}, [2]string{"2020", "today"}},
		"DateLessThanEquals":    {"2020-01-01", [2]string{"2019", "2020"}, [2]string{"2020-01-02", "today"}},
		"DateGreaterThan":       {"2020-01-01", [2]string{"2020-01-02", "1577836801"}, [2]string{"2020", "today"}},
		"DateGreaterThanEquals": {"2020-01-01", [2]string{"2020", "2020-01-02"}, [2]string{"2019", "today"}},

		"Bool":         {"true", [2]string{"true", "TRUE"}, [2]string{"false", "1"}},
		"BinaryEquals": {"QmluYXJ5", [2]string{"Binary", "Binary"}, [2]string{"QmluYXJ5", "binary"}},

		"IpAddress":    {"203.0.113.0/24", [2]string{"203.0.113.9", "203.0.113.255"}, [2]string{"203.0.114.0", "2001:db8::1"}},
		"NotIpAddress": {"203.0.113.0/24", [2]string{"203.0.114.0", "2001:db8::1"}, [2]string{"203.0.113.9", "203.0.113.255"}},

		"ArnEquals":    {"arn:aws:iam::1:user/*", [2]string{"arn:aws:iam::1:user/a", "arn:aws:iam::1:user/b"}, [2]string{"arn:aws:iam::2:user/a", "a"}},
		"ArnLike":      {"arn:aws:iam::*:user/a", [2]string{"arn:aws:iam::1:user/a", "arn:aws:iam::2:user/a"}, [2]string{"arn:aws:iam::1:user/b", "a"}},
		"ArnNotEquals": {"arn:aws:iam::1:user/*", [2]string{"arn:aws:iam::2:user/a", "a"}, [2]string{"arn:aws:iam::1:user/a", "arn:aws:iam::1:user/b"}},
		"ArnNotLike":   {"arn:aws:iam::*:user/a", [2]string{"arn:aws:iam::1:user/b", "a"}, [2]string{"arn:aws:iam::1:user/a", "arn:aws:iam::2:user/a"}},
	}
	for name, op := range operators {
		tt, ok := tests[name]
		if !ok {
			t.Errorf("%s is not tested", name)
			continue
		}
		yes, no := tt.holds[:], tt.breaks[:]
		mixed := []string{no[0], yes[0], no[1]}
		for _, use := range []struct {
			operator string
			request  []string
			want     bool
		}{
			{name, nil, op.negated},
			{name, yes[:1], true},
			{name, yes[1:], true},
			{name, no[:1], false},
			{name, no[1:], false},

			{name + "IfExists", nil, true},
			{name + "IfExists", yes[:1], true},
			{name + "IfExists", no[:1], false},

			{"ForAnyValue:" + name, nil, false},
			{"ForAnyValue:" + name, []string{""}, false}, // the same as absent
			{"ForAnyValue:" + name, yes, true},
			{"ForAnyValue:" + name, mixed, true},
			{"ForAnyValue:" + name, no, false},
			{"ForAnyValue:" + name + "IfExists", nil, true},
			{"ForAnyValue:" + name + "IfExists", mixed, true},
			{"ForAnyValue:" + name + "IfExists", no, false},

			{"ForAllValues:" + name, nil, true},
			{"ForAllValues:" + name, []string{""}, true},
			{"ForAllValues:" + name, yes, true},
			{"ForAllValues:" + name, mixed, false},
			{"ForAllValues:" + name, slices.Concat(yes, no[:1]), false},
			{"ForAllValues:" + name, no, false},
			{"ForAllValues:" + name + "IfExists", nil, true},
			{"ForAllValues:" + name + "IfExists", yes, true},
			{"ForAllValues:" + name + "IfExists", mixed, false},
		} {
			c := Condition{Operator: use.operator, Key: "aws:key", Values: []string{tt.value}}
			request := map[string][]string{"aws:key": use.request}
			if got := c.holds(request, request); got != use.want {
				t.Errorf("%s %q with %q: %t, want %t", use.operator, tt.value, use.request, got, use.want)
			}
		}
	}
}
