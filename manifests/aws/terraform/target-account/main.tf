# The manager role of one target account: what trustbind's operator assumes in order to edit trust policies there.
# Statements are those of manager-role-policy.json, manager-role-chains-policy.json and manager-role-eks-policy.json,
# narrowed to paths and to one cluster.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

locals {
  prefix  = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}"
  manager = "${local.prefix}:role/trustbind-manager"
  eks     = "arn:${data.aws_partition.current.partition}:eks:*:${data.aws_caller_identity.current.account_id}"
}

resource "aws_iam_role" "manager" {
  name        = "trustbind-manager"
  description = "Edits trust policies for trustbind's operator"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OperatorWithExternalId"
        Effect    = "Allow"
        Principal = { AWS = var.operator_role_arns }
        # TagSession: a session by EKS Pod Identity hands its tags on.
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = { StringEquals = { "sts:ExternalId" = var.external_id } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "manager" {
  name = "trustbind-manager"
  role = aws_iam_role.manager.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "EditTrust"
        Effect   = "Allow"
        Action   = ["iam:GetRole", "iam:ListRoleTags", "iam:UpdateAssumeRolePolicy"]
        Resource = "${local.prefix}:role${var.role_path}*"
      },
      {
        Sid      = "NeverItsOwn"
        Effect   = "Deny"
        Action   = ["iam:UpdateAssumeRolePolicy"]
        Resource = local.manager
      },
      {
        Sid      = "SurveyAndQuota"
        Effect   = "Allow"
        Action   = ["iam:ListRoles", "iam:GetAccountSummary"]
        Resource = "*"
      },
      {
        Sid    = "KeepProvider"
        Effect = "Allow"
        Action = concat(["iam:GetOpenIDConnectProvider"], var.issuer != "" ? [] : [
          "iam:CreateOpenIDConnectProvider",
          "iam:AddClientIDToOpenIDConnectProvider",
          "iam:UpdateOpenIDConnectProvider",
        ])
        Resource = "${local.prefix}:oidc-provider/*"
      },
    ]
  })
}

resource "aws_iam_role_policy" "chains" {
  count = var.source_role_path != "" ? 1 : 0

  name = "trustbind-manager-chains"
  role = aws_iam_role.manager.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "KeepPermissionOfSourceRoles"
        Effect   = "Allow"
        Action   = ["iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"]
        Resource = "${local.prefix}:role${var.source_role_path}*"
      },
      {
        Sid      = "NeverItsOwn"
        Effect   = "Deny"
        Action   = ["iam:PutRolePolicy", "iam:DeleteRolePolicy"]
        Resource = local.manager
      },
    ]
  })
}

resource "aws_iam_role_policy" "associations" {
  count = var.eks_cluster_name != "" ? 1 : 0

  name = "trustbind-manager-eks"
  role = aws_iam_role.manager.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "KeepAssociations"
        Effect = "Allow"
        Action = [
          "eks:ListPodIdentityAssociations",
          "eks:DescribePodIdentityAssociation",
          "eks:CreatePodIdentityAssociation",
          "eks:UpdatePodIdentityAssociation",
          "eks:DeletePodIdentityAssociation",
          "eks:TagResource",
          "eks:UntagResource",
        ]
        Resource = [
          "${local.eks}:cluster/${var.eks_cluster_name}",
          "${local.eks}:podidentityassociation/${var.eks_cluster_name}/*",
        ]
      },
      {
        Sid       = "HandRolesToPods"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = "${local.prefix}:role${var.role_path}*"
        Condition = { StringEquals = { "iam:PassedToService" = "pods.eks.amazonaws.com" } }
      },
      {
        Sid      = "NeverItsOwn"
        Effect   = "Deny"
        Action   = ["iam:PassRole"]
        Resource = local.manager
      },
    ]
  })
}

resource "aws_iam_openid_connect_provider" "cluster" {
  count = var.issuer != "" ? 1 : 0

  url            = var.issuer
  client_id_list = var.audiences
}
