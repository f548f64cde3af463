package s3

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// partitions tells the partition of a region from the beginning of its name,
// as the SDK's endpoint rules do; the first match counts.
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

// regions are those that the SDK's S3 client knows by name, and those whose
// partitions have no location constraint of their own in it.
var regions = func() map[string]bool {
	known := map[string]bool{
		"us-east-1":       true, // the default, so not a location constraint
		"eusc-de-east-1":  true,
		"us-iso-east-1":   true,
		"us-iso-west-1":   true,
		"us-isob-east-1":  true,
		"us-isob-west-1":  true,
		"eu-isoe-west-1":  true,
		"us-isof-east-1":  true,
		"us-isof-south-1": true,
	}
	for _, r := range types.BucketLocationConstraint("").Values() {
		if r != types.BucketLocationConstraintEu { // an old name for eu-west-1
			known[string(r)] = true
		}
	}
	return known
}()

// PartitionOf returns the AWS partition of region, and false if the SDK does
// not know the region.
func PartitionOf(region string) (partition string, known bool) {
	if !regions[region] {
		return "", false
	}
	partition, _ = partitionAndSuffix(region)
	return partition, true
}

func partitionAndSuffix(region string) (partition, dnsSuffix string) {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition, p.dnsSuffix
		}
	}
	return "aws", "amazonaws.com" // not reached: the last prefix is empty
}
