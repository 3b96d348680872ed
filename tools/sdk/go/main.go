// Whoami prints who the default credentials of the AWS SDK for Go v2 are, as one line of JSON; an argument names the
// profile.
package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

type said struct {
	Arn     string     `json:"arn,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Region  string     `json:"region,omitempty"`
	Error   string     `json:"error,omitempty"`
}

func whoami(ctx context.Context, options ...func(*config.LoadOptions) error) (said, error) {
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return said{}, err
	}
	answer, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return said{}, err
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return said{}, err
	}
	result := said{Arn: *answer.Arn, Region: cfg.Region}
	if credentials.CanExpire {
		result.Expires = &credentials.Expires
	}
	return result, nil
}

func main() {
	var options []func(*config.LoadOptions) error
	if len(os.Args) > 1 {
		options = append(options, config.WithSharedConfigProfile(os.Args[1]))
	}
	result, err := whoami(context.Background(), options...)
	if err != nil {
		result.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
	if err != nil {
		os.Exit(1)
	}
}
