package iam

import "strings"

// partitions tells the partition of a region from the beginning of its name, as AWS's own endpoint rules do; the first
// match counts.
var partitions = []struct{ prefix, partition, dnsSuffix string }{
	{"cn-", "aws-cn", "amazonaws.com.cn"},
	{"us-gov-", "aws-us-gov", "amazonaws.com"},
	{"us-isob-", "aws-iso-b", "sc2s.sgov.gov"},
	{"us-isof-", "aws-iso-f", "csp.hci.ic.gov"},
	{"us-iso-", "aws-iso", "c2s.ic.gov"},
	{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"},
	{"eusc-", "aws-eusc", "amazonaws.eu"},
	{"", "aws", "amazonaws.com"},
}

// Partition returns the partition that ARNs of a region begin with, and the DNS suffix of its services.
func Partition(region string) (name, dnsSuffix string) {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition, p.dnsSuffix
		}
	}
	return "aws", "amazonaws.com" // not reached: the last prefix is empty
}
