output "operator_role_arn" {
  description = "For operator_role_arns of target accounts, and with a token for operator.aws.roleArn of the chart."
  value       = aws_iam_role.operator.arn
}
