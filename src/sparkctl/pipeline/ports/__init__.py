"""Who answers, and under which scope it is remembered: the policy, the judge, the tools."""
