output "manager_role_arn" {
  description = "For spec.managerRoleArn of the AWSAccount."
  value       = aws_iam_role.manager.arn
}
