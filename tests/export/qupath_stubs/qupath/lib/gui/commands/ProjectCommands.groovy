package qupath.lib.gui.commands

import qupath.lib.images.ImageData

class ProjectCommands {
    static def addSingleImageToProject(project, server, ImageData.ImageType type) {
        def entry = project.addImage(server.getBuilder())
        entry.type = type?.name()
        entry
    }
}
