"""The other side of the synth bench: an app with next to nothing in it, as the CLI refuses one without a stack, and CDK's
validation a stack without a resource.
"""

from aws_cdk import App, CfnResource, Stack

app = App()
CfnResource(Stack(app, "Empty"), "Nothing", type="AWS::CloudFormation::WaitConditionHandle")
app.synth()
