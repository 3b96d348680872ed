# The operator's own role, in the cluster's account. With `issuer`, for a token of the cluster (IRSA), whose OIDC
# provider must exist in this account; without, for EKS Pod Identity. The statement is that of operator-policy.json.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

locals {
  pod_identity = var.issuer == ""
  managers     = "arn:${data.aws_partition.current.partition}:iam::*:role/trustbind-manager"
  provider     = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:oidc-provider/${var.issuer}"

  token_trust = {
    Sid       = "OperatorsToken"
    Effect    = "Allow"
    Principal = { Federated = local.provider }
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Condition = {
      StringEquals = {
        "${var.issuer}:aud" = "sts.amazonaws.com"
        "${var.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
      }
    }
  }

  pod_trust = {
    Sid       = "OperatorsPod"
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    Condition = {
      StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = var.cluster_name
        "aws:RequestTag/kubernetes-namespace"       = var.namespace
        "aws:RequestTag/kubernetes-service-account" = var.service_account
      }
    }
  }
}

resource "aws_iam_role" "operator" {
  name        = var.role_name
  description = "trustbind's operator, which assumes manager roles"

  # As text, since the two statements are of different types.
  assume_role_policy = local.pod_identity ? jsonencode({
    Version   = "2012-10-17"
    Statement = [local.pod_trust]
    }) : jsonencode({
    Version   = "2012-10-17"
    Statement = [local.token_trust]
  })

  lifecycle {
    precondition {
      condition     = var.cluster_name != "" || var.issuer != ""
      error_message = "cluster_name (EKS Pod Identity) or issuer (a token of the cluster) is needed."
    }
  }
}

resource "aws_iam_role_policy" "operator" {
  name = "trustbind-operator"
  role = aws_iam_role.operator.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "BecomeManagers"
        Effect   = "Allow"
        Action   = ["sts:AssumeRole"]
        Resource = local.managers
      },
      ], local.pod_identity ? [
      # The session's tags are transitive: they go along, and need this.
      {
        Sid      = "HandTagsOn"
        Effect   = "Allow"
        Action   = ["sts:TagSession"]
        Resource = local.managers
      },
    ] : [])
  })
}

resource "aws_eks_pod_identity_association" "operator" {
  count = local.pod_identity ? 1 : 0

  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.operator.arn
}
