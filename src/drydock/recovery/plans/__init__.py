"""From what somebody asks for to a plan, or to a refusal that says what is missing."""
